//! Much through the network: long transfers, a crowd of connections, and very many short ones.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use monocore_tests::net_load::{Stream, Sum};
use monocore_tests::world::Ran;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::ground::{self, Mode, PEER_V4, PEER_V6};

in_each_mode!(
    a_thousand_connections_at_once,
    long_transfers_arrive_as_they_were_sent,
    short_connections_leave_nothing_behind,
);

/// Bytes of a long transfer.
const LONG: u64 = 200 << 20;

/// A listener on every address of this machine.
fn listener(port: u16) -> TcpListener {
    TcpListener::bind(SocketAddr::from(([0u16; 8], port))).unwrap()
}

/// Receives from one connection after the other; gives their sums.
fn sinks(port: u16) -> Receiver<String> {
    let (listener, (sender, sums)) = (listener(port), channel());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut sum) = (stream.unwrap(), Sum::default());
            let mut block = vec![0; 256 << 10];
            loop {
                match stream.read(&mut block).unwrap() {
                    0 => break,
                    count => sum.add(&block[..count]),
                }
            }
            sender.send(sum.line()).unwrap();
        }
    });
    sums
}

/// Sends the same stream to whoever connects; gives its sum.
fn sources(port: u16, bytes: u64) -> String {
    let listener = listener(port);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut source) = (stream.unwrap(), Stream::new(bytes));
            while let Some(block) = source.next_block() {
                stream.write_all(block).unwrap();
            }
        }
    });
    let (mut source, mut sum) = (Stream::new(bytes), Sum::default());
    while let Some(block) = source.next_block() {
        sum.add(block);
    }
    sum.line()
}

fn long_transfers_arrive_as_they_were_sent(mode: Mode) {
    let port = 8100 + 10 * mode.number();
    let (received, sent) = (sinks(port), sources(port + 1, LONG));
    let script = format!(
        "net-load send {PEER_V4}:{port} {LONG} && net-load receive '{PEER_V4}:{}' && \
         net-load send '[{PEER_V6}]:{port}' 20000000 && net-load receive '[{PEER_V6}]:{}' | head -c 9",
        port + 1,
        port + 1,
    );
    let ran = Ran::from(ground::run(mode, &[], &["sh", "-c", &script]).output().unwrap());
    let (long, short) = (received.recv().unwrap(), received.recv().unwrap());
    assert_eq!(ran.out(), format!("{long}\n{sent}\n{short}\n{}", &sent[..9]));
    assert!(long.starts_with(&format!("{LONG} bytes")), "{long}");
}

fn a_thousand_connections_at_once(mode: Mode) {
    const CROWD: usize = 1000;
    let limit = Some(16_384);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let port = 8102 + 10 * mode.number();
    let listener = listener(port);
    let echo = thread::spawn(move || {
        let mut all: Vec<TcpStream> = (0..CROWD).map(|_| listener.accept().unwrap().0).collect();
        // All are there; the last ones first.
        for stream in all.iter_mut().rev() {
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        }
    });
    let command = ["net-load", "crowd", &format!("{PEER_V4}:{port}"), &CROWD.to_string()];
    let ran = Ran::from(ground::run(mode, &[], &command).output().unwrap());
    assert_eq!(ran.out(), "1000 connections\n");
    echo.join().unwrap();
}

/// How many short connections are made: a few emulated milliseconds each, so all 10,000 only where `MONOCORE_TEST_LONG` is set.
fn short_connections() -> usize {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 10_000 } else { 1_000 }
}

/// Descriptors of the process below `monocore run` that is the machine.
fn machines_descriptors(monocore: u32) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{monocore}/task/{monocore}/children")).unwrap();
    let every_thread = std::fs::read_dir(format!("/proc/{monocore}/task")).unwrap();
    let mut all: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
    for thread in every_thread.map(Result::unwrap) {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().map(str::to_owned));
    }
    let machine = all.first().expect("the machine is a process of its own");
    std::fs::read_dir(format!("/proc/{machine}/fd")).unwrap().count()
}

fn short_connections_leave_nothing_behind(mode: Mode) {
    let port = 8103 + 10 * mode.number();
    let (service, observer) = (listener(port), listener(port + 1));
    thread::spawn(move || {
        for stream in service.incoming() {
            let (mut stream, mut byte) = (stream.unwrap(), [0]);
            if stream.read_exact(&mut byte).is_ok() {
                let _ = stream.write_all(&byte);
                // The guest closes first.
                let _ = stream.read(&mut byte);
            }
        }
    });
    let (to, looks) = (format!("{PEER_V4}:{port}"), format!("{PEER_V4}:{}", port + 1));
    let count = short_connections().to_string();
    let command = ["net-load", "churn", &to, &count, &looks];
    let monocore =
        ground::run(mode, &[], &command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let number = monocore.id();
    let watching = thread::spawn(move || {
        let (mut stream, mut seen) = (observer.accept().unwrap().0, Vec::new());
        let mut what = [0];
        while stream.read_exact(&mut what).is_ok() {
            seen.push((what[0], machines_descriptors(number)));
            stream.write_all(&what).unwrap();
        }
        seen
    });
    let ran = Ran::from(monocore.wait_with_output().unwrap());
    assert_eq!(ran.out(), format!("{count} connections, one after another\n"));
    let seen = watching.join().unwrap();
    let [(b'b', before), (b'a', after)] = seen[..] else { panic!("{seen:?}") };
    assert!(after <= before + 2, "{before} descriptors before, {after} after");
}
