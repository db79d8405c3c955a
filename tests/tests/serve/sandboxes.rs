//! The life of a sandbox over the API.

use std::io::Read;

use serde_json::{Value, json};

use monocore_tests::wait::eventually;

use crate::client::Server;

#[test]
fn a_sandbox_lives_over_the_api_and_outlives_the_server() {
    let server = Server::start("life");
    let made = server.create("serve-life", "echo out; echo err >&2; exec sleep 1000");
    assert_eq!((made["status"].as_str(), made["name"].as_str()), (Some("running"), Some("serve-life")));
    let listed = server.json("GET", "/v1/sandboxes?name=serve-life", &Value::Null);
    assert_eq!(listed["sandboxes"][0]["id"], made["id"]);
    let stats = server.json("GET", "/v1/sandboxes/serve-life/stats", &Value::Null);
    assert!(stats["guest"]["memory_total_bytes"].as_u64().unwrap() > 64 << 20, "{stats}");
    let (_, metrics) = server.ask("GET", "/metrics", &Value::Null);
    assert!(metrics.contains("monocore_sandbox_memory_used_bytes{id="), "{metrics}");
    server.terminate();
    // The sandbox does not notice.
    let server = Server::start("life-again");
    let ran = server.exec("serve-life", "echo still here");
    assert_eq!((ran["exit_code"].as_u64(), ran["stdout"].as_str()), (Some(0), Some("still here\n")));
    let stopped = server.json("POST", "/v1/sandboxes/serve-life/stop", &json!({"timeout": 1}));
    assert_eq!(stopped["status"], "exited", "{stopped}");
    let ended = server.json("POST", "/v1/sandboxes/serve-life/wait", &Value::Null);
    assert_eq!(ended["exit_code"], stopped["exit_code"]);
    let started = server.json("POST", "/v1/sandboxes/serve-life/start", &Value::Null);
    assert_eq!(started["status"], "running");
    let (status, text) = server.ask("DELETE", "/v1/sandboxes/serve-life", &Value::Null);
    assert!(status == 409 && text.contains("still_running"), "{text}");
    assert_eq!(server.ask("DELETE", "/v1/sandboxes/serve-life?force=true", &Value::Null).0, 204);
}

#[test]
fn logs_are_read_and_followed() {
    let server = Server::start("logs");
    server.create("serve-logs", "echo one; echo two >&2; read go </dev/null; sleep 2; echo three");
    let mut followed = server.send("GET", "/v1/sandboxes/serve-logs/logs?follow=true", &Value::Null);
    // The stream ends with the sandbox.
    let mut text = String::new();
    followed.read_to_string(&mut text).unwrap();
    for part in
        [r#"{"log":"one\n","stream":"stdout""#, r#"{"log":"two\n","stream":"stderr""#, r#""log":"three\n""#]
    {
        assert!(text.contains(part), "{text}");
    }
    let (_, tail) = server.ask("GET", "/v1/sandboxes/serve-logs/logs?tail=1", &Value::Null);
    let line: Value = serde_json::from_str(&tail).unwrap();
    assert_eq!(line["log"], "three\n");
    server.json("DELETE", "/v1/sandboxes/serve-logs?force=true", &Value::Null);
}

#[test]
fn a_wait_ends_with_the_sandbox_and_a_failed_start_is_told() {
    let server = Server::start("wait");
    server.create("serve-wait", "sleep 2; exit 7");
    let ended = server.json("POST", "/v1/sandboxes/serve-wait/wait", &Value::Null);
    assert_eq!(ended["exit_code"], 7);
    // The exit is told a moment before the supervisor lets go of the sandbox.
    eventually("the sandbox can be removed", || {
        server.ask("DELETE", "/v1/sandboxes/serve-wait", &Value::Null).0 == 204
    });
    let wanted = json!({
        "image": monocore_tests::world::PLAIN, "name": "serve-none", "memory": "128m", "command": ["/nope"],
        "network": {"mode": "none"}
    });
    let (status, text) = server.ask("POST", "/v1/sandboxes", &wanted);
    assert!(status == 422 && text.contains("command_not_started"), "{status} {text}");
    eventually("nothing is left of it", || {
        server.ask("GET", "/v1/sandboxes/serve-none", &Value::Null).0 == 404
    });
}
