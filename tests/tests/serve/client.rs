//! A running `monocore serve`, and requests over its Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use monocore_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A server of one test.
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts a server with a socket of this name and waits until it listens.
    pub(crate) fn start(name: &str) -> Self {
        let socket = World::get().path(&format!("{name}.sock"));
        let mut command = World::get().monocore(["serve", "--no-tcp", "--socket"]);
        command.arg(&socket).env("MONOCORE_LOG", "warn");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on unix:"), "{line:?}");
        Self { child, socket }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        stream
    }

    /// Status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let mut stream = self.send(method, path, body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let is_chunked = head.to_ascii_lowercase().contains("chunked");
        (status, if is_chunked { unchunked(body) } else { body.to_owned() })
    }

    /// Sends bytes as a body; the status.
    pub(crate) fn put(&self, path: &str, body: &[u8]) -> u16 {
        let mut stream = self.connect();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Sends a request whose answer the caller reads.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> UnixStream {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = self.connect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    /// The JSON of an answer that must be a success.
    #[track_caller]
    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, text) = self.ask(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Makes and starts a sandbox of PLAIN.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, script: &str) -> Value {
        let wanted = json!({
            "image": monocore_tests::world::PLAIN, "name": name, "memory": "128m", "pull": "never",
            "command": ["sh", "-c", script], "network": {"mode": "none"}
        });
        self.json("POST", "/v1/sandboxes", &wanted)
    }

    /// `POST exec` of a shell's script.
    #[track_caller]
    pub(crate) fn exec(&self, name: &str, script: &str) -> Value {
        self.json("POST", &format!("/v1/sandboxes/{name}/exec"), &json!({"command": ["sh", "-c", script]}))
    }

    /// Ends the server as `kill` does, and waits for its end.
    pub(crate) fn terminate(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert!(!self.socket.exists());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&more[..size]);
        rest = &more[size + 2..];
    }
    body
}
