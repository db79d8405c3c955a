//! The protocol over HTTP: both eras, and who is let in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use monocore_tests::world::{PLAIN, World};
use serde_json::{Value, json};

use crate::client::{roomy, text};

/// A server on a free port of loopback.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

struct Answer {
    status: u16,
    session: Option<String>,
    /// The last message of the body, be it JSON or a stream of events.
    json: Value,
}

impl Server {
    pub(crate) fn start(verb: &[&str]) -> Self {
        let mut command = World::get().monocore(verb);
        if verb[0] == "mcp" {
            command.arg("--policy").arg(roomy());
        }
        let mut child = command.env("MONOCORE_LOG", "warn").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("http://")).unwrap();
        let address = line.split("http://").nth(1).unwrap();
        let address = address.trim_end_matches("/mcp").to_owned();
        Self { child, address }
    }

    fn post(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = format!("Host: {}\r\n", self.address);
        let host = if headers.iter().any(|(name, _)| *name == "Host") { "" } else { &host };
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let body = body.to_string();
        write!(
            stream,
            "POST /mcp HTTP/1.1\r\n{host}{more}Connection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(line.split_once(": ")?.1.to_owned())
        };
        let messages = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let json =
            messages.filter_map(|line| serde_json::from_str::<Value>(line).ok()).rfind(Value::is_object);
        Answer { status, session: field("mcp-session-id"), json: json.unwrap_or_default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A request of the era without sessions, with its headers.
fn stateless(server: &Server, method: &str, name: Option<&str>, mut params: Value) -> Answer {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    server.post(&headers, &request(1, method, &params))
}

fn code() -> Value {
    json!({"name": "run_code", "arguments": {
        "code": "echo over http", "language": "shell", "image": PLAIN, "memory_mib": 128, "network": {"reach": "none"}
    }})
}

#[test]
fn both_eras_are_spoken_over_http() {
    let server = Server::start(&["mcp", "--http", "127.0.0.1:0"]);
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    });
    let greeted = server.post(&[], &request(1, "initialize", &hello));
    assert_eq!((greeted.status, &greeted.json["result"]["serverInfo"]["name"]), (200, &json!("monocore")));
    let session = greeted.session.unwrap();
    let headers = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let told = server.post(&headers, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!(told.status, 202);
    let ran = server.post(&headers, &request(2, "tools/call", &code()));
    assert_eq!(text(&ran.json), "exit code 0\n--- stdout\nover http");
    let found = stateless(&server, "server/discover", None, json!({}));
    assert!(found.json["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{}", found.json);
    let ran = stateless(&server, "tools/call", Some("run_code"), code());
    assert_eq!((text(&ran.json).as_str(), ran.session), ("exit code 0\n--- stdout\nover http", None));
    assert_eq!(ran.json["result"]["resultType"], "complete");
}

#[test]
fn others_pages_and_names_are_refused_and_the_server_has_it_too() {
    let socket = World::get().path("mcp-serve.sock");
    let server = Server::start(&["serve", "--port", "0", "--socket", socket.to_str().unwrap(), "--mcp"]);
    for headers in [
        &[("Host", "evil.example")][..],
        &[("Origin", "http://evil.example")],
        &[("Sec-Fetch-Site", "cross-site")],
    ] {
        assert_eq!(server.post(headers, &json!({})).status, 403, "{headers:?}");
    }
    let found = stateless(&server, "tools/list", None, json!({}));
    assert_eq!(found.json["result"]["tools"].as_array().unwrap().len(), 20);
    let refused = World::get().monocore(["mcp", "--http", "0.0.0.0:0"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("--tls-cert"), "{said}");
}
