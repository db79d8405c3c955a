//! What the server counts for a guest's files is what they cost.

use std::ffi::CStr;
use std::fmt::Write;
use std::process::Command;

use super::Client;
use crate::host::FileId;
use crate::nodes::Place;
use crate::server::ServerConfig;

/// Just more than fits tables of 2^17 slots: then they are twice that, and emptiest.
const NODES: u64 = (1 << 17) * 7 / 8 + 1;

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "needs a process of its own: `nodes_cost_no_more_than_is_counted` starts it"]
fn measured() {
    let config = ServerConfig { max_node_bytes: 1 << 30, ..Client::config() };
    for length in [8, 23, 24, 100, 255] {
        let mut client = Client::with(false, config);
        let share = client.server.nodes.share(client.share).unwrap();
        let (memory, counted) = (resident(), client.server.nodes.bytes());
        let mut name = String::with_capacity(300);
        for n in 0..NODES {
            name.clear();
            write!(name, "{n:0>length$}\0").unwrap();
            let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap().to_owned();
            let place = Place::At { parent: client.share, name };
            client.server.nodes.enter(&share, place, FileId { ino: n + 10, ..FileId::default() }).unwrap();
        }
        let (memory, counted) = (resident() - memory, client.server.nodes.bytes() - counted);
        println!("{length}: {} {}", memory / NODES, counted as u64 / NODES);
        // Kept, so that the next round cannot use what this one has freed.
        std::mem::forget(client);
    }
}

#[test]
fn nodes_cost_no_more_than_is_counted() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tests::memory::measured", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = child.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter_map(|line| line.split_once(": ")?.1.split_once(' '));
    let figures: Vec<(u64, u64)> =
        lines.filter_map(|(memory, counted)| Some((memory.parse().ok()?, counted.parse().ok()?))).collect();
    assert_eq!(figures.len(), 5, "{text}");
    for (memory, counted) in figures {
        assert!(memory <= counted, "{text}");
        assert!(memory * 5 > counted * 3, "what is counted is far from what is used: {text}");
    }
}
