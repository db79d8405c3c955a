//! Leases without a guest: the sandbox goes with its request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Server, loopback};

/// Asks for a lease and reads until the sandbox's name is there.
fn lease(server: &Server, name: &str) -> TcpStream {
    let wanted = json!({
        "rootfs": server.dir.path(), "name": name, "command": ["/bin/true"], "start": false,
        "network": {"mode": "none"}
    });
    let body = wanted.to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut answer, mut part) = (String::new(), [0; 4096]);
    while !answer.contains(&format!("\"name\":\"{name}\"")) {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stream
}

fn names(server: &Server) -> Vec<String> {
    let list = server.get("/v1/sandboxes?all=true").json();
    let list = list["sandboxes"].as_array().unwrap().clone();
    list.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_leased_sandbox_goes_with_its_client() {
    let server = Server::start();
    let (first, second) = (lease(&server, "one"), lease(&server, "two"));
    assert_eq!(names(&server), ["two", "one"]);
    drop(first);
    eventually(|| names(&server) == ["two"]);
    // Removed by hand: the lease's end finds nothing to do.
    assert_eq!(server.ask("DELETE", "/v1/sandboxes/two?force=true", "").status, 204);
    drop(second);
    // A request that fails is no lease.
    let answer = server.post("/v1/leases", &json!({"image": "x", "pull": "never"}));
    assert_eq!((answer.status, answer.code().as_str()), (404, "no_such_image"));
    assert_eq!(names(&server), [""; 0]);
}

#[test]
fn many_clients_that_vanish_leave_nothing() {
    let server = Server::start();
    for round in 0..100 {
        drop(lease(&server, &format!("round-{round}")));
    }
    eventually(|| names(&server).is_empty());
}

#[test]
fn a_server_that_ends_keeps_leased_sandboxes_unless_it_is_private() {
    for private in [false, true] {
        let mut server = Server::with(|options, _| {
            options.private = private;
            options.listen = Some(loopback());
        });
        let mut held = lease(&server, "one");
        server.stop().unwrap();
        let mut rest = Vec::new();
        let _ = held.read_to_end(&mut rest);
        let kept = monocore_orchestrator::registry::list(&server.home).unwrap().len();
        assert_eq!(kept, usize::from(!private), "private: {private}");
    }
}
