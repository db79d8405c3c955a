//! The shell of the dashboard: it outlives its connection for a while, and full-screen programs run
//! in it.

use serde_json::{Value, json};
use tungstenite::Message;

use monocore_tests::wait::eventually;

use crate::client::Server;
use crate::exec::{Socket, open};

/// Reads on until the output has `text`.
#[track_caller]
fn read_until(socket: &mut Socket, text: &str) -> String {
    let mut out = Vec::new();
    loop {
        match socket.read().unwrap() {
            Message::Binary(bytes) => out.extend_from_slice(&bytes[1..]),
            Message::Text(message) => panic!("{message} instead of {text}"),
            _ => {}
        }
        let so_far = String::from_utf8_lossy(&out);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
    }
}

/// The output up to the next text message, and that message.
#[track_caller]
fn read_message(socket: &mut Socket) -> (String, Value) {
    let mut out = Vec::new();
    loop {
        match socket.read().unwrap() {
            Message::Binary(bytes) => out.extend_from_slice(&bytes[1..]),
            Message::Text(text) => {
                let out = String::from_utf8_lossy(&out).into_owned();
                return (out, serde_json::from_str(text.as_str()).unwrap());
            }
            _ => {}
        }
    }
}

fn type_in(socket: &mut Socket, keys: &str) {
    socket.send(Message::binary([b"\0", keys.as_bytes()].concat())).unwrap();
}

fn shell(keep: &str) -> Value {
    json!({
        "command": ["sh"], "stdin": true, "keep": keep, "env": {"TERM": "xterm-256color"},
        "terminal": {"rows": 24, "columns": 80}
    })
}

fn resume(session: &Value) -> Value {
    json!({"session": session, "terminal": {"rows": 30, "columns": 100}})
}

#[test]
fn vi_goes_on_after_the_page_is_loaded_again() {
    const NAME: &str = "serve-vi";
    let server = Server::start("vi");
    server.create(NAME, "exec sleep 1000");
    let mut socket = open(&server, NAME, &shell("60s"));
    let (_, first) = read_message(&mut socket);
    assert_eq!(first["type"], "session");
    type_in(&mut socket, "busybox vi /tmp/note\n");
    read_until(&mut socket, "/tmp/note");
    read_until(&mut socket, "~");
    type_in(&mut socket, "ihello from vi");
    read_until(&mut socket, "hello from vi");
    // As a page that is loaded again, or closed, or whose network is lost.
    drop(socket);
    let mut wrong = open(&server, NAME, &resume(&json!("0".repeat(32))));
    assert_eq!(read_message(&mut wrong).1["code"], "no_such_session");
    let mut socket = open(&server, NAME, &resume(&first["id"]));
    let (shown, again) = read_message(&mut socket);
    assert!(shown.contains("hello from vi"), "what was on the screen is shown: {shown:?}");
    assert_eq!(again, first);
    // By itself: what follows at once would make a key of it.
    type_in(&mut socket, "\x1b");
    read_until(&mut socket, "- /tmp/note");
    type_in(&mut socket, ":wq\n");
    read_until(&mut socket, "# ");
    // A second page takes the shell from the first.
    let mut second = open(&server, NAME, &resume(&first["id"]));
    assert_eq!(read_message(&mut second).1, first);
    assert_eq!(read_message(&mut socket).1["code"], "session_taken");
    type_in(&mut second, "cat /tmp/note; stty size; exit 3\n");
    let (out, last) = read_message(&mut second);
    assert!(out.contains("hello from vi\r\n30 100"), "{out:?}");
    assert_eq!(last, json!({"type": "exit", "exit_code": 3}));
    let mut late = open(&server, NAME, &resume(&first["id"]));
    assert_eq!(read_message(&mut late).1["code"], "no_such_session", "it has ended");
    // Nobody comes back to this one.
    let mut socket = open(&server, NAME, &shell("1s"));
    read_message(&mut socket);
    type_in(&mut socket, "sleep 997\n");
    let count =
        || server.exec(NAME, "ps | grep -c '[s]leep 997'; true")["stdout"].as_str().unwrap().to_owned();
    eventually("it runs", || count() == "1\n");
    drop(socket);
    eventually("its time is up", || count() == "0\n");
    for start in [json!({"command": ["sh"], "keep": "1s"}), shell("11m")] {
        let mut refused = open(&server, NAME, &start);
        assert_eq!(read_message(&mut refused).1["code"], "invalid_value");
    }
    server.json("DELETE", &format!("/v1/sandboxes/{NAME}?force=true"), &Value::Null);
}
