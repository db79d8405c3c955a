//! `monocore vhost-user net` with QEMU as the front end and a stock Debian kernel as the driver. Software emulation; no KVM.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use monocore_tests::names::name_server;
use monocore_tests::net_load::{Stream, Sum, peer};
use monocore_tests::stock_guest::net::{NAMES, PUBLISHED, STREAM_BYTES};
use support::served::Served;
use support::stock_guest::StockGuest;

/// The card and its stack ask this server for names.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 53, 77);
const ADDRESSES: &[(&str, [u8; 4])] = &[(NAMES[0], [93, 184, 216, 34])];
/// Both ends of a connection, twice.
const CONNECTIONS: usize = 4;

/// Other ends for every connection of the guest's, one after the other: `bytes` bytes are sent to each.
fn peers(bytes: u64) -> u16 {
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            peer(listener.try_clone().unwrap(), bytes).join().unwrap().unwrap();
        }
    });
    port
}

/// One at both of this machine's loopback addresses.
fn listener() -> TcpListener {
    TcpListener::bind(SocketAddr::from(([0u16; 8], 0))).unwrap()
}

fn echo() -> u16 {
    let socket = UdpSocket::bind(SocketAddr::from(([0u16; 8], 0))).unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut bytes = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..count], from);
        }
    });
    port
}

/// A port of loopback that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn ask(published: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", published)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"how are you").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stock_kernel_uses_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, published) = (dir.path().join("net.sock"), free_port());
    name_server(NAME_SERVER, ADDRESSES).unwrap();
    let (dns, port) = (NAME_SERVER.to_string(), format!("{published}:{PUBLISHED}"));
    let arguments = ["net", "--net-rule", "allow:host", "--dns", &dns, "-p", &port];
    let mut served = Served::start(&socket, None, &arguments);

    let mut guest = StockGuest::new(format!("net:{},{},{}", peers(0), peers(STREAM_BYTES), echo()));
    guest.shared_memory().character_device("net", &socket);
    guest.argument("-netdev", "vhost-user,id=card,chardev=net");
    // Without MSI-X: with it, QEMU 7.2 follows a null pointer where a card is vhost-user's and KVM is not there.
    guest.argument("-device", "virtio-net-pci,netdev=card,mac=52:54:00:12:34:56,romfile=,vectors=0");
    let (answers, answered) = channel();
    let said = guest.run(move |line| {
        println!("{line}");
        if line == "listening" {
            let answers = answers.clone();
            thread::spawn(move || answers.send(ask(published)));
        }
    });

    served.assert_running();
    let (mut source, mut sum) = (Stream::new(STREAM_BYTES), Sum::default());
    while let Some(block) = source.next_block() {
        sum.add(block);
    }
    let count = |line: &str| said.iter().filter(|other| *other == line).count();
    let sum = sum.line();
    assert_eq!(count(&format!("sent {sum}; received {sum}")), CONNECTIONS, "{said:#?}");
    assert_eq!(count("name: code 0, 1 addresses"), 2, "{said:#?}");
    assert_eq!(count("name: code 0, 0 addresses"), 2, "{said:#?}");
    assert_eq!(answered.iter().take(2).collect::<Vec<_>>(), ["HOW ARE YOU"; 2]);
}
