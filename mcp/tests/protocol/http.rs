//! The routes by themselves; `tests/` of the workspace asks them through the server.

use monocore_mcp::{Policy, http_router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{hello, host, meta, text};

/// Status, session and the last message of an answer.
async fn post(address: std::net::SocketAddr, headers: &str, body: &str) -> (u16, Option<String>, Value) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses may close before it has read everything.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let session = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).map(str::to_owned);
    let messages = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let last = messages.filter_map(|line| serde_json::from_str::<Value>(line).ok()).rfind(Value::is_object);
    (status, session, last.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_eras_and_hostile_bodies() {
    let dir = tempfile::tempdir().unwrap();
    let router = http_router(host(&dir), Policy::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let request = |id: u64, method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    };
    let list = json!({"name": "list_sandboxes", "arguments": {}});
    let (status, session, greeted) = post(address, "", &request(1, "initialize", hello("2025-11-25"))).await;
    assert_eq!((status, &greeted["result"]["protocolVersion"]), (200, &json!("2025-11-25")));
    let session = format!("Mcp-Session-Id: {}\r\n", session.unwrap());
    let (_, _, listed) = post(address, &session, &request(2, "tools/call", list.clone())).await;
    assert_eq!(text(&listed), "no sandboxes; create_sandbox makes one");
    let headers = |method: &str, name: &str| {
        format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\nMcp-Name: {name}\r\n")
    };
    let stateless = headers("tools/call", "list_sandboxes");
    let (status, session, listed) =
        post(address, &stateless, &request(3, "tools/call", meta(list.clone()))).await;
    assert_eq!(
        (status, session, text(&listed).as_str()),
        (200, None, "no sandboxes; create_sandbox makes one")
    );
    let long = format!("{{\"x\": \"{}\"}}", "x".repeat(2 << 20));
    let deep = "[".repeat(200_000);
    for (body, expected) in
        [("{", 400..=499), ("[]", 400..=499), ("", 400..=499), (&*long, 413..=413), (&*deep, 400..=499)]
    {
        let (status, _, _) = post(address, &stateless, body).await;
        assert!(expected.contains(&status), "{}: {status}", &body[..body.len().min(20)]);
    }
    let (status, _, _) =
        post(address, "Mcp-Session-Id: nope\r\n", &request(4, "tools/list", json!({}))).await;
    assert_eq!(status, 404, "no such session");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let router = http_router(host(&dir), Policy::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let greeting =
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello("2025-11-25")}).to_string();
    let mut refused = 0;
    for _ in 0..300 {
        refused += u32::from(post(address, "", &greeting).await.0 == 503);
    }
    assert_eq!(refused, 300 - 256);
    serving.abort();
}
