//! A project with two services.

use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, SERVER};
use serde_json::{Value, json};

use crate::client::Client;

#[test]
fn a_project_comes_up_talks_and_goes() {
    let mut client = Client::start(&[]);
    let web = json!({"image": SERVER, "memory_mib": 128, "network": {"reach": "group"}});
    let ask = "until busybox nc web 80 </dev/null; do sleep 0.2; done; exec sleep 1000";
    let mut user = json!({"image": PLAIN, "memory_mib": 128, "network": {"reach": "group"}});
    user["command"] = json!(["sh", "-c", ask]);
    let wanted = json!({"project": "mcp-shop", "services": [
        {"service": "user", "sandbox": user, "depends_on": [{"service": "web"}]},
        {"service": "web", "sandbox": web},
    ]});
    let up = client.call("project_up", wanted.clone());
    let services: Vec<Value> = up.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> =
        services.iter().map(|one| (one["service"].as_str(), one["status"].as_str())).collect();
    assert_eq!(shown, [(Some("user"), Some("running")), (Some("web"), Some("running"))], "{up}");
    eventually("services reach each other by name", || {
        client.call("logs", json!({"sandbox": "mcp-shop-user-1"})).contains("answer")
    });
    let ids = |text: &str| {
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        let mut ids: Vec<_> = text.lines().map(id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&client.call("project_up", wanted)), ids(&up), "what is as described is not touched");
    assert_eq!(ids(&client.call("project_status", json!({"project": "mcp-shop"}))), ids(&up));
    assert_eq!(client.call("project_down", json!({"project": "mcp-shop"})), "project mcp-shop is removed");
    assert_eq!(client.call("project_status", json!({"project": "mcp-shop"})), "no sandboxes of projects");
    assert!(client.leave());
}
