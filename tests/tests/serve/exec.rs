//! Commands over the API: at once, and with streams.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use monocore_tests::wait::eventually;

use crate::client::Server;

pub(crate) type Socket = WebSocket<std::os::unix::net::UnixStream>;

pub(crate) fn open(server: &Server, name: &str, start: &Value) -> Socket {
    let address = format!("ws://x/v1/sandboxes/{name}/exec/ws");
    let (mut socket, _) = tungstenite::client(address, server.connect()).unwrap();
    socket.send(Message::text(start.to_string())).unwrap();
    socket
}

/// Output, diagnostics and the last message.
fn drain(socket: &mut Socket) -> (Vec<u8>, Vec<u8>, Value) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match socket.read().unwrap() {
            Message::Binary(bytes) if bytes[0] == 1 => out.extend_from_slice(&bytes[1..]),
            Message::Binary(bytes) => err.extend_from_slice(&bytes[1..]),
            Message::Text(text) => return (out, err, serde_json::from_str(text.as_str()).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn commands_answer_with_their_output() {
    let server = Server::start("exec");
    server.create("serve-exec", "exec sleep 1000");
    let path = "/v1/sandboxes/serve-exec/exec";
    let ran = server.exec("serve-exec", "echo out; echo err >&2; exit 3");
    assert_eq!(
        ran,
        json!({
            "exit_code": 3, "stdout": "out\n", "stderr": "err\n", "truncated": false, "timed_out": false
        })
    );
    let raw = STANDARD.encode([0xff, 0, 1]);
    let ran = server.json("POST", path, &json!({"command": ["cat"], "stdin_base64": raw}));
    assert_eq!(ran["stdout_base64"], raw);
    let ran = server.json("POST", path, &json!({
        "command": ["sh", "-c", "pwd; echo $A; id -u"], "env": {"A": "b c"}, "workdir": "/tmp", "user": "1:1"
    }));
    assert_eq!(ran["stdout"], "/tmp\nb c\n1\n", "{ran}");
    let endless = ["sh", "-c", "while :; do echo y; done"];
    let ran = server.json("POST", path, &json!({"command": endless, "timeout": "2s", "max_output_bytes": 6}));
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(124), &json!("y\ny\ny\n")));
    assert_eq!((&ran["truncated"], &ran["timed_out"]), (&json!(true), &json!(true)));
    let tar = "/v1/sandboxes/serve-exec/files?path=/tmp";
    server.exec("serve-exec", "mkdir /tmp/d; echo content > /tmp/d/file");
    let (status, archive) = server.ask("GET", "/v1/sandboxes/serve-exec/files?path=/tmp/d", &Value::Null);
    assert!(status == 200 && archive.contains("d/file") && archive.contains("content"), "{status}");
    let (status, text) = server.ask("GET", "/v1/sandboxes/serve-exec/files?path=/missing", &Value::Null);
    assert!(status == 422 && text.contains("copy_failed"), "{status} {text}");
    server.exec("serve-exec", "chmod 640 /tmp/d/file; ln -s file /tmp/d/link");
    let listed = server.json("GET", "/v1/sandboxes/serve-exec/files/list?path=/tmp/d", &Value::Null);
    assert_eq!(listed["total"], 2, "{listed}");
    let [file, link] = &listed["entries"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!(
        (&file["name"], &file["kind"], &file["size_bytes"]),
        (&json!("file"), &json!("file"), &json!(8))
    );
    assert_eq!(
        (&file["mode"], &link["kind"], &link["target"]),
        (&json!(0o640), &json!("symlink"), &json!("file"))
    );
    let (status, text) = server.ask("GET", "/v1/sandboxes/serve-exec/files/list?path=/missing", &Value::Null);
    assert!(status == 422 && text.contains("copy_failed"), "{status} {text}");
    server.exec("serve-exec", "rm -r /tmp/d");
    assert_eq!(server.put(tar, archive.as_bytes()), 204);
    assert_eq!(server.exec("serve-exec", "cat /tmp/d/file")["stdout"], "content\n");
    let (status, text) = server.ask("POST", path, &json!({"command": ["/nope"]}));
    assert!(status == 422 && text.contains("command_not_started"), "{text}");
    let ran = server.json("POST", path, &json!({"command": ["sleep", "999"], "detach": true}));
    assert!(ran["pid"].as_u64().unwrap() > 1, "{ran}");
    // A client that goes away takes its command along; the detached one stays.
    drop(server.send("POST", path, &json!({"command": ["sleep", "998"]})));
    let count = |seconds: &str| {
        let script = format!("ps | grep '[s]leep {seconds}' | wc -l");
        server.exec("serve-exec", &script)["stdout"].as_str().unwrap().trim().to_owned()
    };
    eventually("the command of the client that went away is killed", || count("998") == "0");
    assert_eq!(count("999"), "1");
    server.json("DELETE", "/v1/sandboxes/serve-exec?force=true", &Value::Null);
}

#[test]
fn streams_lose_nothing_and_signals_arrive() {
    let server = Server::start("streams");
    server.create("serve-streams", "exec sleep 1000");
    let mut socket = open(&server, "serve-streams", &json!({"command": ["cat"], "stdin": true}));
    let sent: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    let mut writer = tungstenite::WebSocket::from_raw_socket(
        socket.get_ref().try_clone().unwrap(),
        tungstenite::protocol::Role::Client,
        None,
    );
    let (out, _, last) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in sent.chunks(50_000) {
                writer.send(Message::binary([&[0], part].concat())).unwrap();
            }
            writer.send(Message::text(r#"{"type":"stdin_end"}"#)).unwrap();
        });
        drain(&mut socket)
    });
    assert_eq!(last, json!({"type": "exit", "exit_code": 0}));
    assert!(out == sent, "{} of {} bytes", out.len(), sent.len());
    let start = json!({
        "command": ["sh", "-c", "trap 'stty size; exit 9' INT; echo ready; while :; do sleep 0.1; done"],
        "stdin": true, "terminal": {"rows": 24, "columns": 80}
    });
    let mut socket = open(&server, "serve-streams", &start);
    let Message::Binary(first) = socket.read().unwrap() else { panic!("output comes first") };
    assert_eq!(&first[..], b"\x01ready\r\n");
    socket.send(Message::text(r#"{"type":"resize","rows":30,"columns":100}"#)).unwrap();
    socket.send(Message::text(r#"{"type":"signal","signal":"INT"}"#)).unwrap();
    let (out, _, last) = drain(&mut socket);
    assert_eq!((String::from_utf8(out).unwrap().trim(), &last["exit_code"]), ("30 100", &json!(9)));
    for nonsense in
        [Message::binary(vec![7, 7]), Message::text("{}"), Message::text(r#"{"type":"signal","signal":"X"}"#)]
    {
        let mut socket = open(&server, "serve-streams", &json!({"command": ["cat"], "stdin": true}));
        socket.send(nonsense).unwrap();
        assert_eq!(drain(&mut socket).2["type"], "error");
    }
    let left = server.exec("serve-streams", "sleep 1; ps | grep -c '[c]at$'; true");
    assert_eq!(left["stdout"], "0\n", "commands of broken conversations are killed");
    server.json("DELETE", "/v1/sandboxes/serve-streams?force=true", &Value::Null);
}

#[test]
fn a_signal_sent_with_the_start_is_for_the_command_and_not_for_the_sandbox() {
    let server = Server::start("early");
    server.create("serve-early", "trap 'exit 9' TERM; while :; do sleep 1000 & wait $!; done");
    let rounds = 10;
    for round in 0..rounds {
        let mut socket = open(&server, "serve-early", &json!({"command": ["sleep", "1000"]}));
        socket.send(Message::text(r#"{"type":"signal","signal":"TERM"}"#)).unwrap();
        let (_, _, last) = drain(&mut socket);
        assert_eq!(last, json!({"type": "exit", "exit_code": 143}), "round {round}");
    }
    assert_eq!(server.exec("serve-early", "echo still here")["stdout"], "still here\n");
    server.json("DELETE", "/v1/sandboxes/serve-early?force=true", &Value::Null);
}

/// What each of fifty commands writes: all 10 MB only where `MONOCORE_TEST_LONG` is set.
fn streamed_bytes() -> usize {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 10_000_000 } else { 500_000 }
}

#[test]
fn fifty_commands_that_stream_at_a_time_lose_nothing() {
    const COMMANDS: usize = 50;
    let bytes = streamed_bytes();
    let server = Server::start("fifty");
    server.create("serve-fifty", "exec sleep 1000");
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for number in 0..COMMANDS {
            let server = &server;
            scope.spawn(move || {
                // Each has a byte of its own: what one loses or another gets is seen.
                let byte = b'0' + u8::try_from(number).unwrap();
                let script = format!("head -c {bytes} /dev/zero | tr '\\000' '\\{byte:03o}'");
                let start = json!({"command": ["sh", "-c", script]});
                let (out, err, last) = drain(&mut open(server, "serve-fifty", &start));
                assert_eq!((out.len(), last["exit_code"].as_u64()), (bytes, Some(0)), "{last} {err:?}");
                assert!(out.iter().all(|found| *found == byte), "command {number}");
            });
        }
    });
    eprintln!("{COMMANDS} commands, {bytes} bytes each: {:.1} s", began.elapsed().as_secs_f64());
    server.json("DELETE", "/v1/sandboxes/serve-fifty?force=true", &Value::Null);
}

#[test]
fn the_dashboard_opens_a_shell() {
    let server = Server::start("shell");
    server.create("serve-shell", "exec sleep 1000");
    let page = include_str!("../../../server/src/dashboard/shell.js");
    let (_, rest) = page.split_once("const SHELL = \"").unwrap();
    let shell = rest.split_once("\";").unwrap().0;
    let mut request = "ws://x/v1/sandboxes/serve-shell/exec/ws".into_client_request().unwrap();
    // As a browser sends a token; the Unix socket needs none, and a wrong one is refused all the same.
    let protocols = |text: &'static str| tungstenite::http::HeaderValue::from_static(text);
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols("monocore.v1, bearer.mc_0_wrong"));
    assert!(tungstenite::client(request.clone(), server.connect()).is_err());
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols("monocore.v1"));
    let (mut socket, answer) = tungstenite::client(request, server.connect()).unwrap();
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "monocore.v1");
    let start = json!({
        "command": ["sh", "-c", shell], "stdin": true, "env": {"TERM": "xterm-256color"},
        "terminal": {"rows": 34, "columns": 116}
    });
    socket.send(Message::text(start.to_string())).unwrap();
    socket.send(Message::binary(&b"\x00stty size; echo $TERM; exit 3\n"[..])).unwrap();
    let (out, _, last) = drain(&mut socket);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("34 116") && out.contains("xterm-256color"), "{out}");
    assert_eq!(last["exit_code"], 3);
    server.json("DELETE", "/v1/sandboxes/serve-shell?force=true", &Value::Null);
}
