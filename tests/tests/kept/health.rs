//! Health checks.

use std::time::Duration;

use monocore_orchestrator::{Awaited, Condition, Home, wait_for};
use monocore_tests::world::{PLAIN, World};
use serde_json::json;

use crate::support::{Background, ran, until};

fn wait(name: &str, condition: Condition) -> Awaited {
    wait_for(&Home::at(World::get().home()), name, condition, None).unwrap()
}

fn status(sandbox: &Background) -> String {
    sandbox.inspect()["state"]["health"]["Status"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_command_decides_and_its_results_are_kept() {
    let flags = [
        "--health-cmd",
        "echo looking; test -e /tmp/well",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
    ];
    let sandbox = Background::run("health-command", &flags, "touch /tmp/well; sleep 1000");
    assert_eq!(wait("health-command", Condition::Healthy), Awaited::Reached);
    let listed = ran(&[&["ps", "--filter", "name=health-command"]]);
    assert!(listed.out().contains("(healthy)"), "{listed:?}");
    assert_eq!(sandbox.exec(&[], "rm /tmp/well").code, 0);
    until("unhealthy", || status(&sandbox) == "unhealthy");
    assert_eq!(wait("health-command", Condition::Healthy), Awaited::Unhealthy);
    let health = sandbox.inspect()["state"]["health"].clone();
    assert!(health["FailingStreak"].as_u64().unwrap() >= 2, "{health}");
    let log = health["Log"].as_array().unwrap();
    let last = log.last().unwrap();
    assert_eq!((&last["ExitCode"], &last["Output"]), (&1.into(), &"looking\n".into()), "{health}");
    assert!(log.len() <= 5 && last["Start"].as_str() < last["End"].as_str(), "{health}");
    assert_eq!(sandbox.exec(&[], "touch /tmp/well").code, 0);
    assert!(matches!(wait("health-command", Condition::Healthy), Awaited::Reached | Awaited::Unhealthy));
    until("healthy again", || status(&sandbox) == "healthy");
    ran(&[&["stop", "-t", "0", "health-command"]]).out();
    assert_eq!(wait("health-command", Condition::Completed), Awaited::Ended { code: 137 });
    assert_eq!(status(&sandbox), "healthy", "the last health stays");
}

#[test]
fn a_check_that_takes_too_long_has_failed_and_is_killed() {
    let flags = ["--health-cmd", "sleep 995", "--health-interval", "100ms", "--health-timeout", "300ms"];
    let sandbox = Background::run("health-slow", &flags, "sleep 1000");
    assert_eq!(wait("health-slow", Condition::Healthy), Awaited::Unhealthy);
    let health = sandbox.inspect()["state"]["health"].clone();
    assert_eq!(health["Log"][0]["ExitCode"], -1, "{health}");
    assert!(health["Log"][0]["Output"].as_str().unwrap().contains("exceeded timeout"), "{health}");
    let listed = sandbox.exec(&[], "ps").out().matches("sleep 995\n").count();
    assert!(listed <= 1, "{listed} checks run");
}

#[test]
fn ports_are_checked_whatever_the_network() {
    for (network, name) in [("nat", "health-nat"), ("tsi", "health-tsi"), ("none", "health-none")] {
        let serve = "busybox nc -ll -p 80 -e sh -c 'while read -r line && [ ${#line} -gt 1 ]; do :; done; printf \"HTTP/1.0 200 OK\\r\\n\\r\\nfine\"'";
        let flags = ["--network", network, "--health-http", "80/up", "--health-interval", "200ms"];
        let flags = [&flags[..], &["--health-retries", "1000"]].concat();
        let sandbox = Background::run(name, &flags, serve);
        let home = Home::at(World::get().home());
        let awaited = wait_for(&home, name, Condition::Healthy, Some(Duration::from_secs(120))).unwrap();
        let health = sandbox.inspect()["state"]["health"].clone();
        assert_eq!(awaited, Awaited::Reached, "{network}: {health}");
        assert_eq!(
            health["Log"].as_array().unwrap().last().unwrap()["Output"],
            "HTTP/1.0 200 OK",
            "{health}"
        );
    }
    let flags = ["--health-tcp", "81", "--health-interval", "100ms", "--health-retries", "1"];
    let sandbox = Background::run("health-tcp", &flags, "sleep 1000");
    assert_eq!(wait("health-tcp", Condition::Healthy), Awaited::Unhealthy);
    let output = sandbox.inspect()["state"]["health"]["Log"][0]["Output"].clone();
    assert!(output.as_str().unwrap().contains("refused"), "{output}");
    assert_eq!(sandbox.exec(&["-d"], "busybox nc -ll -p 81 -e true").code, 0);
    until("healthy", || status(&sandbox) == "healthy");
}

#[test]
fn the_images_check_counts_unless_it_is_switched_off() {
    let world = World::get();
    let check = json!({ "Test": ["CMD-SHELL", "test $HOME = /root"], "Interval": 200_000_000 });
    let config =
        json!({ "Env": ["PATH=/bin", "HOME=/root"], "Cmd": ["sleep", "1000"], "Healthcheck": check });
    world.load("test/checked:latest", &config, &[monocore_tests::image::busybox().unwrap()]);
    let run = |name: &str, flags: &[&str]| {
        ran(&[&["run", "-d", "--name", name, "-m", "128m"], flags, &["test/checked:latest"]]).out().to_owned()
    };
    run("health-image", &[]);
    assert_eq!(wait("health-image", Condition::Healthy), Awaited::Reached);
    assert!(ran(&[&["ps", "--filter", "name=health-image"]]).out().contains("(healthy)"));
    ran(&[&["rm", "-f", "health-image"]]).out();
    run("health-off", &["--no-healthcheck"]);
    assert_eq!(wait("health-off", Condition::Healthy), Awaited::Reached, "what runs counts as healthy");
    let listed = ran(&[&["ps", "--filter", "name=health-off"]]);
    assert!(!listed.out().contains("health)") && !listed.out().contains("(health"), "{listed:?}");
    ran(&[&["rm", "-f", "health-off"]]).out();
}

#[test]
fn completion_is_awaited_without_checks() {
    let sandbox = Background::run("health-completes", &[], "sleep 2; exit 4");
    assert_eq!(wait("health-completes", Condition::Started), Awaited::Reached);
    assert_eq!(wait("health-completes", Condition::Completed), Awaited::Ended { code: 4 });
    assert_eq!(sandbox.inspect()["state"]["health"], serde_json::Value::Null);
    ran(&[&["create", "--name", "health-created", PLAIN, "true"]]).out();
    let home = Home::at(World::get().home());
    assert!(wait_for(&home, "health-created", Condition::Started, None).is_err());
    ran(&[&["rm", "health-created"]]).out();
}
