//! Clients that break the protocol, send too much, or do not read.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, text};

/// The server still answers as it should.
async fn is_well(server: &mut Server) {
    let list = server.ask("tools/call", json!({"name": "list_sandboxes"})).await;
    assert_eq!(text(&list), "no sandboxes; create_sandbox makes one");
}

/// Memory of this process, MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_are_passed_over_or_refused() {
    let mut server = Server::greeted().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{{\"name\":\"exec\",\"arguments\":{{\"sandbox\":{deep}}}}}}}"
    );
    let lines = [
        "",
        "{",
        "}",
        "null",
        "[]",
        "[1,2]",
        "\"text\"",
        "5",
        "{}",
        "\u{0}\u{1}\u{2}",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/nope"}"#,
        &deep,
        &nested,
    ];
    for line in lines {
        server.write(line.as_bytes()).await;
        server.write(b"\r\n").await;
    }
    server.write(b"\xff\xfe\xfd\n").await;
    is_well(&mut server).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_long_is_not_kept() {
    let mut server = Server::greeted().await;
    let before = resident_mib();
    let part = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        server.write(&part).await;
    }
    server.write(b"\n").await;
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 50, "{grown} MiB for a line of 200 MiB");
    is_well(&mut server).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_are_answered_or_refused() {
    let mut server = Server::greeted().await;
    let calls: Vec<String> = (0..1000)
        .map(|number| {
            let params = json!({"name": "list_sandboxes", "arguments": {}});
            format!(
                "{}\n",
                json!({"jsonrpc": "2.0", "id": 5000 + number, "method": "tools/call", "params": params})
            )
        })
        .collect();
    let (mut input, calls) = (server.input, calls.concat());
    let writing = tokio::spawn(async move {
        input.write_all(calls.as_bytes()).await.unwrap();
        input
    });
    server.input = {
        let mut answered = BTreeSet::new();
        while answered.len() < 1000 {
            let mut line = String::new();
            let read = tokio::io::AsyncBufReadExt::read_line(&mut server.output, &mut line);
            assert!(tokio::time::timeout(crate::support::PATIENCE, read).await.unwrap().unwrap() > 0);
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            let said = text(&answer);
            assert!(said.starts_with("no sandboxes") || said.starts_with("too many calls"), "{said}");
            assert!(answered.insert(answer["id"].as_u64().unwrap()), "{answer} came twice");
        }
        writing.await.unwrap()
    };
    is_well(&mut server).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_waits_itself() {
    let mut server = Server::greeted().await;
    let before = resident_mib();
    let mut sent = 0_u32;
    // Each answer is much longer than its question.
    while sent < 200_000 {
        let call = json!({"jsonrpc": "2.0", "id": sent, "method": "tools/list", "params": {}});
        let line = format!("{call}\n");
        let write = server.input.write_all(line.as_bytes());
        if tokio::time::timeout(Duration::from_secs(3), write).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 5_000, "the server read {sent} requests whose answers nobody takes");
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 150, "{grown} MiB");
    server.end().await;
}
