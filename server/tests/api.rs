//! The API without a guest: records, errors, and who is let in.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "api/edits.rs"]
mod edits;
#[path = "api/leases.rs"]
mod leases;
#[path = "api/listen.rs"]
mod listen;
#[path = "api/streams.rs"]
mod streams;
#[path = "api/support.rs"]
mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use monocore_server::{Scope, tokens};
use serde_json::json;
use support::{Server, read_answer};

/// A sandbox that is written down and never runs.
fn made(server: &Server, name: &str) -> serde_json::Value {
    let wanted = json!({
        "rootfs": server.dir.path(), "name": name, "command": ["/bin/true"], "start": false,
        "env": {"A": "b"}, "labels": {"team": "x"}, "memory": "256m", "network": {"mode": "none"}
    });
    let answer = server.post("/v1/sandboxes", &wanted);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[test]
fn a_sandbox_is_made_listed_shown_and_removed() {
    let server = Server::start();
    let first = made(&server, "one");
    made(&server, "two");
    assert_eq!(
        (first["status"].as_str(), first["settings"]["memory_mib"].as_u64()),
        (Some("created"), Some(256))
    );
    assert_eq!(server.get("/v1/sandboxes").json(), json!({"sandboxes": []}), "none runs");
    let names = |path: &str| {
        let list = server.get(path).json();
        let list = list["sandboxes"].as_array().unwrap().clone();
        list.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/v1/sandboxes?all=true"), ["two", "one"]);
    assert_eq!(names("/v1/sandboxes?status=created&name=on"), ["one"]);
    assert_eq!(names("/v1/sandboxes?all=true&label=team%3Dx"), ["two", "one"]);
    assert_eq!(names("/v1/sandboxes?all=true&label=team%3Dy"), [""; 0]);
    let shown = server.get(&format!("/v1/sandboxes/{}", first["id"].as_str().unwrap())).json();
    assert_eq!((&shown["name"], &shown["settings"]["env"]["A"]), (&json!("one"), &json!("b")));
    assert_eq!(server.ask_unix("GET", "/v1/sandboxes/one", "").status, 200);
    assert_eq!(server.ask("DELETE", "/v1/sandboxes/one", "").status, 204);
    assert_eq!(server.ask("DELETE", "/v1/sandboxes/one", "").code(), "no_such_sandbox");
    assert_eq!(server.ask("DELETE", "/v1/sandboxes/one?force=true", "").status, 204);
    assert_eq!(names("/v1/sandboxes?all=true"), ["two"]);
}

#[test]
fn errors_have_a_shape_and_a_code() {
    let server = Server::start();
    made(&server, "one");
    let cases = [
        ("GET", "/v1/sandboxes/nope", "", 404, "no_such_sandbox"),
        ("GET", "/v1/sandboxes?bogus=1", "", 400, "bad_request"),
        ("GET", "/v1/sandboxes/%ff", "", 400, "bad_request"),
        ("GET", "/nowhere", "", 404, "not_found"),
        ("PUT", "/v1/sandboxes", "", 405, "method_not_allowed"),
        ("POST", "/v1/sandboxes", "{", 400, "invalid_json"),
        ("POST", "/v1/sandboxes", r#"{"imag":"x"}"#, 400, "invalid_json"),
        ("POST", "/v1/sandboxes", "{}", 400, "invalid_value"),
        ("POST", "/v1/sandboxes", r#"{"image":"x","memory":"lots"}"#, 400, "invalid_value"),
        ("POST", "/v1/sandboxes", r#"{"image":"x","volumes":["./a:/b"]}"#, 400, "invalid_value"),
        ("POST", "/v1/sandboxes", r#"{"image":"x","pull":"never"}"#, 404, "no_such_image"),
        (
            "POST",
            "/v1/sandboxes",
            r#"{"rootfs":"/","name":"one","command":["a"],"start":false}"#,
            409,
            "name_in_use",
        ),
        ("POST", "/v1/sandboxes/one/exec", r#"{"command":["true"]}"#, 409, "not_running"),
        ("POST", "/v1/sandboxes/one/exec", r#"{"command":[]}"#, 400, "invalid_value"),
        ("POST", "/v1/sandboxes/one/kill", r#"{"signal":"NOPE"}"#, 400, "invalid_value"),
        ("GET", "/v1/sandboxes/one/stats", "", 409, "not_running"),
        ("GET", "/v1/sandboxes/one/exec/ws", "", 400, "bad_request"),
        ("GET", "/v1/sandboxes/one/logs?tail=x", "", 400, "invalid_value"),
        ("GET", "/v1/images/inspect?image=nope", "", 404, "no_such_image"),
        ("POST", "/up", r#"{"service":[{"name":"a"}]}"#, 400, "invalid_config"),
        ("POST", "/down", r#"{"group":"nope"}"#, 404, "no_such_service"),
        ("POST", "/down", r#"{"project":""}"#, 400, "invalid_value"),
        ("GET", "/v1/sandboxes/one/files/list?path=relative", "", 400, "invalid_value"),
        ("GET", "/v1/sandboxes/one/files/list?path=/&most=0", "", 400, "invalid_value"),
        ("POST", "/remove", "{}", 400, "invalid_value"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = server.ask(method, path, body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path} {body}: {answer:?}"
        );
    }
}

#[test]
fn pages_of_others_and_rebound_names_are_refused() {
    let server = Server::start();
    let own = server.address.to_string();
    let asked = |headers: &[(&str, &str)]| {
        let answer = server.ask_with("GET", "/v1/sandboxes", headers, "");
        if answer.status == 200 { "ok".to_owned() } else { answer.code() }
    };
    assert_eq!(asked(&[("Host", "localhost:1")]), "ok");
    assert_eq!(asked(&[("Host", "evil.example")]), "forbidden_host");
    assert_eq!(asked(&[]), "forbidden_host");
    assert_eq!(asked(&[("Host", &own), ("Origin", "http://evil.example")]), "forbidden_origin");
    assert_eq!(asked(&[("Host", &own), ("Origin", "null")]), "forbidden_origin");
    assert_eq!(asked(&[("Host", &own), ("Sec-Fetch-Site", "cross-site")]), "forbidden_origin");
    assert_eq!(asked(&[("Host", &own), ("Origin", &format!("http://{own}"))]), "ok");
}

#[test]
fn bodies_heads_and_slow_clients_are_bounded() {
    let server = Server::start();
    let mut large = server.connect();
    let head =
        format!("POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1u64 << 30);
    large.write_all(head.as_bytes()).unwrap();
    let chunk = vec![b' '; 64 << 10];
    // The server answers and closes long before a GiB has been sent.
    let sent = (0..(1 << 30) / chunk.len()).take_while(|_| large.write_all(&chunk).is_ok()).count();
    assert!(sent < 1000, "{sent} chunks were taken");
    let long = "x".repeat(64 << 10);
    let answer = server.ask_with("GET", "/healthz", &[("Host", "localhost"), ("X-Long", &long)], "");
    assert_eq!(answer.status, 431, "{answer:?}");
    let mut garbage = server.connect();
    garbage.write_all(b"\x16\x03\x01\x00garbage\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut garbage).status, 400);
    let began = Instant::now();
    let mut slow = server.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(40), "a head that never ends is cut off");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn tokens_have_scopes() {
    let server = Server::with(|options, _| options.require_token = true);
    let asked = |method: &str, path: &str, token: &str, body: &str| {
        let value = format!("Bearer {token}");
        let headers = [("Host", "localhost"), ("Authorization", value.as_str())];
        let answer = server.ask_with(method, path, &headers, body);
        if answer.status < 400 { answer.status.to_string() } else { answer.code() }
    };
    assert_eq!(server.get("/v1/sandboxes").code(), "unauthorized");
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/").status, 200, "the page asks for the token itself");
    assert_eq!(server.ask_unix("GET", "/v1/sandboxes", "").status, 200, "the socket is this user's");
    let token = |scope| tokens::create(&server.home, "test", scope).unwrap();
    let ((_, read), (_, run), (known, admin)) = (token(Scope::Read), token(Scope::Run), token(Scope::Admin));
    assert_eq!(asked("GET", "/v1/sandboxes", "mc_00000000_wrong", ""), "unauthorized");
    assert_eq!(asked("GET", "/v1/sandboxes", &read, ""), "200");
    let as_protocol = |protocols: &str| {
        let headers = [("Host", "localhost"), ("Sec-WebSocket-Protocol", protocols)];
        server.ask_with("GET", "/v1/sandboxes/x/exec/ws", &headers, "").code()
    };
    assert_eq!(as_protocol(&format!("monocore.v1, bearer.{read}")), "forbidden", "known, and too little");
    assert_eq!(
        as_protocol(&format!("monocore.v1, bearer.{run}")),
        "bad_request",
        "allowed, and no WebSocket"
    );
    assert_eq!(as_protocol("monocore.v1, bearer.mc_00000000_wrong"), "unauthorized");
    assert_eq!(as_protocol("monocore.v1"), "unauthorized");
    assert_eq!(asked("DELETE", "/v1/sandboxes/x?force=true", &read, ""), "forbidden");
    assert_eq!(asked("GET", "/v1/sandboxes/x/exec/ws", &read, ""), "forbidden");
    assert_eq!(asked("DELETE", "/v1/sandboxes/x?force=true", &run, ""), "204");
    let bind = r#"{"image":"x","pull":"never","volumes":["/etc:/host"]}"#;
    assert_eq!(asked("POST", "/v1/sandboxes", &run, bind), "forbidden");
    assert_eq!(asked("POST", "/v1/sandboxes", &admin, bind), "no_such_image");
    for body in [
        r#"{"rootfs":"/","command":["a"]}"#,
        r#"{"image":"x","network":{"allow_host":true}}"#,
        r#"{"image":"x","network":{"rules":["allow:host"]}}"#,
        r#"{"image":"x","network":{"mode":"tap:tap0"}}"#,
        r#"{"image":"x","ports":["0.0.0.0:80:80"]}"#,
    ] {
        assert_eq!(asked("POST", "/v1/sandboxes", &run, body), "forbidden", "{body}");
    }
    assert_eq!(asked("POST", "/up", &run, "{}"), "forbidden");
    tokens::remove(&server.home, &known.id).unwrap();
    assert_eq!(asked("GET", "/v1/sandboxes", &admin, ""), "unauthorized");
}

#[test]
fn the_document_and_the_pages_are_there() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    for path in ["/v1/sandboxes/{name}/exec", "/up", "/down", "/status", "/remove", "/v1/images/pull"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let index = server.get("/");
    let policy = index.head.to_ascii_lowercase();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let shell = server.get("/shell?sandbox=x");
    assert!(shell.head.contains("script-src 'self';"), "{}", shell.head);
    for page in [&index.body, &server.get("/docs").body, &shell.body] {
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing comes from elsewhere");
        for asset in page.split('"').filter(|text| text.starts_with("/assets/")) {
            assert_eq!(server.get(asset).status, 200, "{asset}");
        }
    }
    assert!(server.get("/metrics").body.contains("monocore_sandboxes{status=\"running\"} 0"));
}

#[test]
fn a_server_that_ends_lets_streams_end_and_leaves_no_socket() {
    let mut server = Server::start();
    let mut events = server.connect();
    events.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 12];
    events.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let began = Instant::now();
    server.stop().unwrap();
    let mut rest = Vec::new();
    let _ = events.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(!server.socket.exists());
}

#[test]
fn events_are_sent_as_they_happen() {
    let server = Server::start();
    let mut events = server.connect();
    events
        .write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    events.read_exact(&mut first).unwrap();
    made(&server, "seen");
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\"event\":\"create\"") {
        let count = events.read(&mut buffer).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("data: {") && text.contains("\"name\":\"seen\""), "{text}");
}
