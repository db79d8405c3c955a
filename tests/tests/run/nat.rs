//! A network card with the user-mode stack behind it: what a guest reaches, what reaches it, and what does not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monocore_tests::names::name_server;
use monocore_tests::world::{PLAIN, Ran, World};

/// A network that is public to the policy and leads to this machine's loopback.
const PUBLIC: &str = "93.184.216.0/24";

/// Answers a request for any file with its only block (RFC 1350 §5).
fn serve_tftp(address: SocketAddr, block: &'static [u8]) {
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut request = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut request) {
            if count > 2 && request[..2] == [0, 1] {
                let _ = socket.send_to(&[&[0, 3, 0, 1], block].concat(), from);
            }
        }
    });
}

/// Answers every request with `body`, and counts connections.
fn serve(address: SocketAddr, body: Vec<u8>) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind(address).unwrap();
    let bound = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let (counter, body) = (Arc::clone(&count), Arc::new(body));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let (mut stream, body) = (stream.unwrap(), Arc::clone(&body));
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            });
        }
    });
    (bound, count)
}

/// Makes addresses of [`PUBLIC`] lead here without being this machine's own.
fn route_public() {
    let made = Command::new("ip").args(["route", "replace", "local", PUBLIC, "dev", "lo"]).status();
    assert!(made.expect("Debian's iproute2").success());
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| u8::try_from(n * 31 % 253).unwrap()).collect()
}

#[test]
fn this_machine_is_reached_when_it_is_allowed() {
    let world = World::get();
    let (server, count) = serve(SocketAddr::from(([127, 0, 0, 1], 0)), pattern(3 << 20));
    let script = format!("busybox wget -qO- http://host.monocore.internal:{}/ | sha256sum", server.port());
    let expected = world.path("expected");
    std::fs::write(&expected, pattern(3 << 20)).unwrap();
    let sum = Command::new("sha256sum").stdin(std::fs::File::open(&expected).unwrap()).output().unwrap();
    assert_eq!(world.script(&["--allow-host"], &script).out(), String::from_utf8_lossy(&sum.stdout));
    let before = count.load(Ordering::SeqCst);
    let script = format!("busybox nc -w 5 10.77.0.1 {} </dev/null", server.port());
    assert_ne!(world.script(&[], &script).code, 0);
    assert_eq!(count.load(Ordering::SeqCst), before);
    assert_eq!(world.script(&["--no-net"], "ls /sys/class/net | grep -c eth").stdout, "0\n");
}

#[test]
fn a_name_is_looked_up_and_leads_where_it_may() {
    let world = World::get();
    route_public();
    name_server(
        Ipv4Addr::new(127, 0, 0, 61),
        &[
            ("good.example", [93, 184, 216, 34]),
            ("inside.example", [10, 0, 0, 1]),
            ("other.example", [93, 184, 216, 35]),
        ],
    )
    .unwrap();
    let (server, count) = serve(SocketAddr::from(([0, 0, 0, 0], 0)), b"page".to_vec());
    let log = world.path("names.jsonl");
    let dns = ["--dns", "127.0.0.61", "--net-log", log.to_str().unwrap()];
    let port = server.port();
    let ran = world.script(&dns, &format!("busybox wget -qO- http://good.example:{port}/"));
    assert_eq!(ran.out(), "page");
    let only = [&dns[..], &["--reach", "none", "--net-rule", "allow:good.example"]].concat();
    let script = format!(
        "busybox wget -qO- http://good.example:{port}/ && echo; \
         for to in other.example inside.example 93.184.216.35 93.184.216.36; do \
         busybox wget -qO- http://$to:{port}/ 2>/dev/null && echo reached $to; done; echo end"
    );
    let ran = world.script(&only, &script);
    assert_eq!(ran.out(), "page\nend\n", "{ran:?}");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let receipts = std::fs::read_to_string(log).unwrap();
    assert!(receipts.contains(r#""names":["good.example"],"reason":"rule 1""#), "{receipts}");
    assert!(receipts.contains(r#""decision":"deny""#), "{receipts}");
}

/// What comes back from an echo server for `bytes`.
fn echoed(address: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    let (mut reader, sent) = (stream.try_clone()?, bytes.to_owned());
    let writer = std::thread::spawn(move || {
        stream.write_all(&sent)?;
        stream.shutdown(std::net::Shutdown::Write)
    });
    let mut seen = Vec::new();
    let read = reader.read_to_end(&mut seen);
    writer.join().unwrap()?;
    read.map(|_| seen)
}

#[test]
fn published_ports_reach_the_guest() {
    let world = World::get();
    let mut guest = world
        .run_command(["-p", "7080:80", PLAIN, "sh", "-c"])
        .arg("busybox nc -ll -p 80 -e cat & echo ready; wait")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    guest.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    let bytes = pattern(1 << 20);
    let start = Instant::now();
    // The guest's server may not listen yet; then the connection is reset.
    let seen = loop {
        match echoed("127.0.0.1:7080", &bytes) {
            Ok(seen) if !seen.is_empty() => break seen,
            Ok(_) => assert!(start.elapsed() < Duration::from_secs(30), "nothing comes back"),
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(seen == bytes, "{} of {} bytes", seen.len(), bytes.len());
    guest.kill().unwrap();
    guest.wait().unwrap();

    let taken = TcpListener::bind("127.0.0.1:7090").unwrap();
    let refused = world.run(["-p", "7090:80", PLAIN, "true"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("127.0.0.1:7090"), "{refused:?}");
    drop(taken);
}

#[test]
fn both_families_datagrams_and_echoes() {
    let world = World::get();
    for (bind, to) in [("127.0.0.1:7101", "10.77.0.1"), ("[::1]:7101", "fd4d:6f6e:6f00::1")] {
        let bind: SocketAddr = bind.parse().unwrap();
        serve_tftp(bind, b"udp");
        let (_, count) = serve(bind, b"six".to_vec());
        let script = format!(
            "busybox ping -c 1 -W 5 {to} >/dev/null && echo pong; \
             printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 9 {to} 7101 | tail -c 3; echo; \
             busybox tftp -g -r any -l /tftp {to} 7101 && cat /tftp"
        );
        let ran = world.script(&["--allow-host"], &script);
        assert_eq!(ran.stdout, "pong\nsix\nudp", "{to}: {ran:?}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn nothing_guarded_is_reached_in_any_spelling() {
    let world = World::get();
    route_public();
    let canaries = [
        serve("0.0.0.0:7201".parse().unwrap(), b"reached".to_vec()).1,
        serve("[::]:7202".parse().unwrap(), b"reached".to_vec()).1,
    ];
    for network in ["10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "100.64.0.0/10"] {
        let made = Command::new("ip").args(["route", "replace", "local", network, "dev", "lo"]).status();
        assert!(made.unwrap().success());
    }
    let script = "tries=0; for port in 7201 7202; do for round in $(seq 4); do for to in \
         10.77.0.1 10.0.0.$round 10.255.0.1 169.254.169.254 169.254.170.2 169.254.$round.1 192.168.0.1 192.168.$round.7 \
         172.16.0.1 172.31.$round.1 100.64.0.1 100.100.100.200 \
         fd4d:6f6e:6f00::1 64:ff9b::a9fe:a9fe 64:ff9b::7f00:1 64:ff9b::a00:1 2002:a9fe:a9fe::1 2002:7f00:1::1 \
         ::ffff:10.0.0.1 ::ffff:169.254.169.254 fe80::1%eth0 fd00:ec2::254 fc00::$round; do \
         busybox nc -w 1 $to $port </dev/null 2>/dev/null && echo reached $to; tries=$((tries+1)); done; done; done; \
         echo $tries tries";
    let flags = ["--net-rule", "allow:*", "--net-rule", "allow:0.0.0.0/0", "--net-rule", "allow:::/0"];
    let ran: Ran = world.script(&flags, script);
    assert_eq!(ran.out(), "184 tries\n", "{ran:?}");
    assert_eq!(canaries.map(|count| count.load(Ordering::SeqCst)), [0, 0]);
}
