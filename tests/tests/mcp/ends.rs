//! Calls that end early leave nothing: cancelled ones, and those of clients that went away.

use monocore_tests::wait::eventually;
use monocore_tests::world::PLAIN;
use serde_json::json;

use crate::client::{Client, plain};

fn running(client: &mut Client, sandbox: &str, seconds: u32) -> String {
    client.script(sandbox, &format!("ps | grep '[s]leep {seconds}$' | wc -l"))
}

#[test]
fn cancelling_kills_what_the_call_started() {
    let mut client = Client::start(&[]);
    client.create("mcp-cancel");
    let id = client.begin("exec", json!({"sandbox": "mcp-cancel", "script": "sleep 997; sleep 998"}));
    eventually("the command runs", || running(&mut client, "mcp-cancel", 997) == "1");
    client.notify("notifications/cancelled", json!({"requestId": id, "reason": "enough"}));
    eventually("the command is killed", || running(&mut client, "mcp-cancel", 997) == "0");
    let late = client
        .fails("exec", json!({"sandbox": "mcp-cancel", "script": "echo a; sleep 996", "timeout_seconds": 2}));
    assert_eq!(late, "timed out after 2 s and was killed; its output until then:\n--- stdout\na");
    eventually("the late command is killed", || running(&mut client, "mcp-cancel", 996) == "0");
    let code = json!({
        "code": "sleep 995", "language": "shell", "image": PLAIN, "memory_mib": 128, "network": {"reach": "none"}
    });
    let id = client.begin("run_code", code);
    eventually("the code runs", || client.count("sleep 995") == 1);
    client.notify("notifications/cancelled", json!({"requestId": id}));
    eventually("its sandbox is gone", || client.count("sleep 995") == 0);
    client.call("remove_sandbox", json!({"sandbox": "mcp-cancel", "force": true}));
    assert!(client.leave());
}

#[test]
fn a_client_that_goes_away_leaves_its_sandboxes_and_nothing_else() {
    let mut client = Client::start(&[]);
    client.create("mcp-gone");
    client.begin("exec", json!({"sandbox": "mcp-gone", "script": "sleep 994"}));
    let code = json!({
        "code": "sleep 993", "language": "shell", "image": PLAIN, "memory_mib": 128, "network": {"reach": "none"}
    });
    client.begin("run_code", code);
    eventually("both run", || client.count("sleep 993") == 1 && running(&mut client, "mcp-gone", 994) == "1");
    assert!(client.leave());
    let mut next = Client::start(&[]);
    assert_eq!((next.count("mcp-gone"), next.count("sleep 993")), (1, 0), "what was made is found again");
    assert_eq!(running(&mut next, "mcp-gone", 994), "0");
    next.call("remove_sandbox", json!({"sandbox": "mcp-gone", "force": true}));
    assert!(next.leave());
}

#[test]
fn many_calls_at_once_are_all_answered() {
    let mut client = Client::start(&[]);
    client.call("create_sandbox", plain(&json!({"name": "mcp-many"})));
    let calls = (0..60).map(|number| {
        client.begin("exec", json!({"sandbox": "mcp-many", "script": format!("echo {number}")}))
    });
    for (number, id) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = client.answer(id);
        let text = crate::client::text(&answer);
        assert_eq!(text, format!("exit code 0\n--- stdout\n{number}"));
    }
    client.call("remove_sandbox", json!({"sandbox": "mcp-many", "force": true}));
    assert!(client.leave());
}
