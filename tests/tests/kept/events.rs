//! Events.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use monocore_tests::world::World;
use serde_json::Value;

use crate::support::{Background, ran};

fn events(flags: &[&str]) -> Vec<Value> {
    let shown = ran(&[&["events", "--since", "1h", "--until", "0s", "--format", "json"], flags]);
    shown.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_life_is_told_event_by_event() {
    let flags = ["--health-cmd", "true", "--health-interval", "200ms", "--label", "tier=db"];
    let sandbox = Background::run("events-life", &flags, "sleep 1000");
    let mut follower = World::get()
        .monocore(["events", "--since", "1h", "--filter", "container=events-life", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(sandbox.exec(&[], "exit 3").code, 3);
    let mut seen = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let action = event["Action"].as_str().unwrap().to_owned();
        // What happens next is asked for once the event before it is seen.
        if action == "health_status: healthy" {
            ran(&[&["restart", "events-life"]]).out();
        }
        let is_last = action == "restart";
        seen.push((action, event));
        if is_last {
            break;
        }
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    let actions: Vec<_> = seen.iter().map(|(action, _)| action.as_str()).collect();
    let position = |name: &str| {
        actions.iter().position(|action| *action == name).unwrap_or_else(|| panic!("{name}: {actions:?}"))
    };
    let order = ["create", "start", "exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die"];
    assert!(order.windows(2).all(|pair| position(pair[0]) < position(pair[1])), "{actions:?}");
    let order = ["health_status: healthy", "kill", "die", "stop", "restart"];
    assert!(order.windows(2).all(|pair| position(pair[0]) < position(pair[1])), "{actions:?}");
    assert_eq!(actions.iter().filter(|action| **action == "start").count(), 2, "{actions:?}");
    let attribute = |name: &str, key: &str| seen[position(name)].1["Actor"]["Attributes"][key].clone();
    assert_eq!((attribute("exec_die", "exitCode"), attribute("die", "exitCode")), ("3".into(), "143".into()));
    assert_eq!((attribute("kill", "signal"), attribute("start", "tier")), ("15".into(), "db".into()));
    assert_eq!(attribute("start", "name"), "events-life");
}

#[test]
fn events_of_the_past_are_filtered() {
    let ended =
        ran(&[&["run", "--name", "events-front", "-m", "128m", "test/plain:latest", "sh", "-c", "exit 5"]]);
    assert_eq!(ended.code, 5);
    let mine = events(&["--filter", "container=events-front"]);
    let actions: Vec<_> = mine.iter().map(|event| event["Action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    assert_eq!(mine[2]["Actor"]["Attributes"]["exitCode"], "5");
    assert!(mine.iter().all(|event| event["Type"] == "container"));
    let died = events(&["--filter", "container=events-front", "--filter", "event=die"]);
    assert_eq!(died.len(), 1);
    let text = ran(&[&["events", "--until", "0s", "--filter", "container=events-front"]]);
    assert!(text.out().contains(" container die ") && text.out().contains("exitCode=5"), "{text:?}");
    assert_eq!(ran(&[&["events", "--filter", "colour=red"]]).code, 125);
}
