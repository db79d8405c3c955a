//! Changing sandboxes and volumes, without a guest; and how often a client may ask.

use monocore_server::{Scope, tokens};
use serde_json::json;

use crate::made;
use crate::support::Server;

#[test]
fn a_sandbox_is_updated_and_renamed() {
    let server = Server::start();
    made(&server, "one");
    made(&server, "other");
    let changed = server.ask(
        "PATCH",
        "/v1/sandboxes/one",
        r#"{"name": "two", "memory": "1g", "cpus": 2, "restart": "always"}"#,
    );
    let shown = changed.json();
    assert_eq!((changed.status, shown["name"].as_str()), (200, Some("two")));
    let settings = &shown["settings"];
    assert_eq!(
        (settings["memory_mib"].as_u64(), settings["cpus"].as_u64(), settings["restart"].as_str()),
        (Some(1024), Some(2), Some("always"))
    );
    assert_eq!(server.ask("PATCH", "/v1/sandboxes/two", "{}").json()["settings"], *settings);
    let cases = [
        ("one", r#"{"name": "x"}"#, "no_such_sandbox"),
        ("two", r#"{"name": "other"}"#, "name_in_use"),
        ("two", r#"{"name": "a/b"}"#, "invalid_value"),
        ("two", r#"{"memory": "lots"}"#, "invalid_value"),
        ("two", r#"{"disk": 1}"#, "invalid_json"),
    ];
    for (name, body, code) in cases {
        assert_eq!(server.ask("PATCH", &format!("/v1/sandboxes/{name}"), body).code(), code, "{body}");
    }
    assert_eq!(server.get("/v1/sandboxes/two/processes").code(), "not_running");
    assert_eq!(server.get("/v1/sandboxes/none/changes").code(), "no_such_sandbox");
}

#[test]
fn volumes_are_made_shown_and_removed() {
    let server = Server::start();
    let made = server.post("/v1/volumes", &json!({"name": "data", "labels": {"a": "b"}}));
    assert_eq!((made.status, made.json()["labels"]["a"].as_str()), (201, Some("b")));
    let made_up = server.post("/v1/volumes", &json!({})).json()["name"].as_str().unwrap().to_owned();
    assert_eq!(made_up.len(), 64);
    let wanted = json!({
        "rootfs": server.dir.path(), "name": "user", "command": ["/bin/true"], "start": false,
        "volumes": ["data:/data"], "network": {"mode": "none"}
    });
    let user = server.post("/v1/sandboxes", &wanted).json()["id"].clone();
    let shown = server.get("/v1/volumes/data").json();
    assert_eq!(shown["used_by"], json!([user]), "{shown}");
    assert_eq!(server.ask("DELETE", "/v1/volumes/data", "").code(), "volume_in_use");
    assert_eq!(server.ask("DELETE", "/v1/sandboxes/user", "").status, 204);
    for name in ["data", &made_up] {
        assert_eq!(server.ask("DELETE", &format!("/v1/volumes/{name}"), "").status, 204);
        assert_eq!(server.get(&format!("/v1/volumes/{name}")).code(), "no_such_volume");
    }
    assert_eq!(server.get("/v1/volumes").json(), json!({"volumes": []}));
    assert_eq!(server.post("/v1/volumes", &json!({"name": "../x"})).code(), "invalid_value");
}

#[test]
fn each_token_may_ask_so_often() {
    let server = Server::with(|options, _| options.rate_limit = 1);
    let asked = |token: &str| {
        let value = format!("Bearer {token}");
        let headers = [("Host", "localhost"), ("Authorization", value.as_str())];
        server.ask_with("GET", "/v1/sandboxes", &headers, "")
    };
    let token = || tokens::create(&server.home, "", Scope::Read).unwrap().1;
    let (first, second) = (token(), token());
    let refused = (0..1000).map(|_| asked(&first)).find(|answer| answer.status != 200);
    let refused = refused.expect("a client that asks 1,000 times at once is slowed down");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: 1"), "{refused:?}");
    assert_eq!(asked(&second).status, 200, "others do not notice");
    // Loopback without a token has no limit.
    assert!((0..50).all(|_| server.get("/v1/sandboxes").status == 200));
}
