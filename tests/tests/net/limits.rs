//! Bandwidth that is limited: what goes through is whole, and takes the time it must.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use monocore_tests::net_load;
use monocore_tests::world::Ran;

use crate::ground::{self, Mode, PEER_V4};

in_each_mode!(a_limit_holds_both_ways);

const BYTES: u64 = 4_000_000;
/// A megabyte a second, and half of one at once.
const LIMIT: &str = "1MB/s,500k";
/// What is left after the burst and a frame of the longest, at that rate.
const AT_LEAST: Duration = Duration::from_millis(3400);

/// The other end of one connection; see [`net_load::peer`].
fn peer(port: u16, bytes: u64) -> JoinHandle<io::Result<(String, Duration)>> {
    net_load::peer(TcpListener::bind(SocketAddr::from(([0u16; 8], port))).unwrap(), bytes)
}

fn a_limit_holds_both_ways(mode: Mode) {
    let port = 8140 + 10 * mode.number();
    let to = format!("{PEER_V4}:{port}");

    let receiving = peer(port, 0);
    let command = ["net-load", "send", &to, &BYTES.to_string()];
    let ran = Ran::from(ground::run(mode, &["--net-limit-out", LIMIT], &command).output().unwrap());
    let (sum, took) = receiving.join().unwrap().unwrap();
    assert_eq!(ran.out(), format!("{sum}\n"));
    assert!(took >= AT_LEAST, "{took:?}");

    let sending = peer(port, BYTES);
    let command = ["net-load", "receive", &to];
    let ran = Ran::from(ground::run(mode, &["--net-limit-in", LIMIT], &command).output().unwrap());
    let (sum, took) = sending.join().unwrap().unwrap();
    assert_eq!(ran.out(), format!("{sum}\n"));
    assert!(took >= AT_LEAST, "{took:?}");
}
