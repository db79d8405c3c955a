//! The protocol without a guest: both eras over streams and HTTP, and hostile clients.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "protocol/hostile.rs"]
mod hostile;
#[path = "protocol/http.rs"]
mod http;
#[path = "protocol/support.rs"]
mod support;

use serde_json::{Value, json};
use support::{Server, hello, meta, text};

#[tokio::test]
async fn the_era_with_initialize() {
    let mut server = Server::start();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut one = Server::start();
        let greeted = one.ask("initialize", hello(version)).await;
        assert_eq!(greeted["result"]["protocolVersion"], version);
        one.end().await;
    }
    let greeted = server.ask("initialize", hello("2025-11-25")).await;
    let result = &greeted["result"];
    assert_eq!(result["serverInfo"], json!({"name": "monocore", "version": "0"}));
    assert!(
        result["capabilities"]["tools"].is_object()
            && result["capabilities"]["resources"]["subscribe"] == true
    );
    assert!(result["instructions"].as_str().unwrap().contains("Paths of the host"), "{result}");
    server.notify("notifications/initialized", json!({})).await;
    assert_eq!(server.ask("ping", json!({})).await["result"], json!({}));
    let tools = server.ask("tools/list", json!({})).await;
    let tools = tools["result"]["tools"].as_array().unwrap();
    assert!((10..=20).contains(&tools.len()));
    for tool in tools {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
        assert!(tool["annotations"]["readOnlyHint"].is_boolean(), "{tool}");
    }
    let list = server.ask("tools/call", json!({"name": "list_sandboxes"})).await;
    assert_eq!(text(&list), "no sandboxes; create_sandbox makes one");
    assert_eq!(list["result"].get("resultType"), None, "the older era has no such field");
    let unknown = server.ask("tools/call", json!({"name": "nope", "arguments": {}})).await;
    assert_eq!(
        (&unknown["error"]["code"], &unknown["error"]["message"]),
        (&json!(-32602), &json!("no such tool: nope"))
    );
    assert_eq!(server.ask("nope", json!({})).await["error"]["code"], -32601);
    let resources = server.ask("resources/list", json!({})).await;
    assert_eq!(resources["result"]["resources"], json!([]));
    let templates = server.ask("resources/templates/list", json!({})).await;
    let template = &templates["result"]["resourceTemplates"][0]["uriTemplate"];
    assert_eq!(template, "monocore://sandboxes/{sandbox}/logs");
    for uri in ["monocore://sandboxes/x/logs", "monocore://sandboxes//logs", "file:///etc/passwd", ""] {
        let missing = server.ask("resources/read", json!({"uri": uri})).await;
        assert_eq!(missing["error"]["code"], -32002, "{uri}: {missing}");
    }
    server.end().await;
}

#[tokio::test]
async fn the_era_without_sessions() {
    let mut server = Server::start();
    let found = server.ask("server/discover", meta(json!({}))).await;
    let versions = found["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{found}");
    let tools = server.ask("tools/list", meta(json!({}))).await;
    assert_eq!(
        (&tools["result"]["resultType"], tools["result"]["ttlMs"].is_u64()),
        (&json!("complete"), true)
    );
    let list = server.ask("tools/call", meta(json!({"name": "list_sandboxes", "arguments": {}}))).await;
    assert_eq!(text(&list), "no sandboxes; create_sandbox makes one");
    let missing = server.ask("resources/read", meta(json!({"uri": "monocore://sandboxes/x/logs"}))).await;
    assert_eq!(missing["error"]["code"], -32602, "{missing}");
    let without = server.ask("tools/list", json!({})).await;
    assert_eq!(without["error"]["code"], -32602, "every request says which version it is of: {without}");
    let mut older = meta(json!({}));
    older["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1999-01-01");
    assert!(server.ask("tools/list", older).await["error"].is_object());
    server.end().await;
}

#[tokio::test]
async fn errors_of_calls_are_results_that_say_what_to_do() {
    let mut server = Server::greeted().await;
    let cases = [
        ("exec", json!({"sandbox": "x", "script": "true"}), "no such sandbox: x. list_sandboxes shows"),
        ("exec", json!({"sandbox": "x"}), "command: give either script or command"),
        ("exec", json!({"script": "true"}), "missing field `sandbox`"),
        (
            "exec",
            json!({"sandbox": "x", "script": "true", "timeout_seconds": 601}),
            "timeout_seconds: 601 is more than 600",
        ),
        (
            "exec",
            json!({"sandbox": "x", "script": "true", "timeout_seconds": 0}),
            "timeout_seconds: 0 is less than 1",
        ),
        (
            "exec",
            json!({"sandbox": "x", "script": "true", "max_output_bytes": 1 << 20}),
            "max_output_bytes: 1048576 is more",
        ),
        ("exec", json!({"sandbox": "", "script": "true"}), "sandbox: 0 characters is less than 1"),
        ("exec", json!({"sandbox": 5, "script": "true"}), "invalid type: integer `5`, expected a string"),
        (
            "create_sandbox",
            json!({"image": "evil.example/x"}),
            "image: evil.example/x:latest is not an allowed image",
        ),
        (
            "create_sandbox",
            json!({"image": "10.0.0.1:5000/x"}),
            "image: 10.0.0.1:5000/x:latest is not an allowed image",
        ),
        ("create_sandbox", json!({"image": "UPPER/x"}), "image: "),
        ("create_sandbox", json!({"image": "a", "network": {"reach": "moon"}}), "unknown variant `moon`"),
        (
            "pull_image",
            json!({"image": "localhost:5000/x"}),
            "image: localhost:5000/x:latest is not an allowed image",
        ),
        ("run_code", json!({"language": "cobol", "code": "x"}), "unknown variant `cobol`"),
        ("read_file", json!({"sandbox": "x", "path": "etc"}), "path: give an absolute path"),
        (
            "write_file",
            json!({"sandbox": "x", "path": "/a", "content": "*", "encoding": "base64"}),
            "content: ",
        ),
        ("write_file", json!({"sandbox": "x", "path": "/a/..", "content": ""}), "path: name a file"),
        (
            "write_file",
            json!({"sandbox": "x", "path": "/a", "content": "", "mode": "999"}),
            "mode: give octal",
        ),
        (
            "upload",
            json!({"sandbox": "x", "path": "/a", "host_path": "/etc/passwd"}),
            "host_path: no path of the host",
        ),
        ("project_up", json!({"project": "p", "services": []}), "services: 0 items is less than 1"),
        ("project_down", json!({"project": "../p"}), "project: "),
        ("stats", json!({"sandbox": "x"}), "no such sandbox: x"),
    ];
    for (tool, arguments, expected) in cases {
        let answer = server.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        assert_eq!(answer["result"]["isError"], true, "{tool} {arguments}: {answer}");
        let said = text(&answer);
        assert!(said.starts_with(expected), "{tool} {arguments}: {said:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn every_tool_refuses_unknown_arguments() {
    let mut server = Server::greeted().await;
    let tools = server.ask("tools/list", json!({})).await;
    for tool in tools["result"]["tools"].as_array().unwrap() {
        let arguments = json!({"name": tool["name"], "arguments": {"bogus\u{1b}": 1}});
        let answer = server.ask("tools/call", arguments).await;
        assert_eq!(answer["result"]["isError"], Value::Bool(true), "{answer}");
        assert!(text(&answer).starts_with("unknown field"), "{answer}");
    }
    server.end().await;
}
