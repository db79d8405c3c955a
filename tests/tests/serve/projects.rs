//! `/up`, `/status`, `/down` and `/remove`, as the mission has them.

use monocore_tests::world::PLAIN;
use serde_json::{Value, json};

use crate::client::Server;

#[test]
fn a_project_comes_up_and_goes_down_by_group_and_service() {
    let server = Server::start("projects");
    let service = |name: &str, group: &str| {
        json!({
            "name": name, "base": PLAIN, "group": group, "ram": 128, "command": "/bin/sleep", "args": ["1000"],
            "network": {"mode": "none"}
        })
    };
    let config = json!({
        "name": "serve-shop",
        "service": [service("db", "back"), service("web", "front"), service("admin", "front")],
        "group": [{"name": "back"}, {"name": "front"}]
    });
    let up = server.json("POST", "/up", &config);
    assert_eq!(up["project"], "serve-shop");
    assert_eq!(up["services"].as_array().unwrap().len(), 3, "{up}");
    let running = || {
        let status = server.json("GET", "/status?project=serve-shop", &Value::Null);
        let services = status["services"].as_array().unwrap().clone();
        let is_up = |one: &&Value| one["sandbox"]["status"] == "running";
        services
            .iter()
            .filter(is_up)
            .map(|one| one["service"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(running(), ["admin", "db", "web"]);
    let again = server.json("POST", "/up", &config);
    let steps = again["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["step"] == "kept"), "nothing changes: {again}");
    server.json("POST", "/remove", &json!({"services": ["admin"]}));
    assert_eq!(running(), ["db", "web"]);
    server.json("POST", "/down", &json!({"group": "front"}));
    assert_eq!(running(), ["db"]);
    let (status, text) = server.ask("POST", "/down", &json!({"group": "front"}));
    assert!(status == 404 && text.contains("no_such_service"), "{text}");
    server.json("POST", "/down", &json!({"project": "serve-shop"}));
    assert_eq!(running(), [""; 0]);
}
