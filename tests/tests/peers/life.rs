//! Members that come and go, and groups.

use monocore_tests::world::{PLAIN, Ran, World};

use crate::ground::Mode;
use crate::{serve, visit};

fn monocore(words: &[&str]) -> Ran {
    World::get().monocore(words).output().unwrap().into()
}

/// The address of the member `name` of `group`.
fn address(group: &str, name: &str) -> String {
    let shown: serde_json::Value =
        serde_json::from_str(monocore(&["network", "inspect", group]).out()).unwrap();
    let members = shown[0]["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["name"] == name);
    member.unwrap_or_else(|| panic!("{name} in {shown}"))["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_member_keeps_its_address_and_is_refused_while_it_is_away() {
    const SCRIPT: &str = "busybox nc -ll -p 80 -e echo here & sleep 1000";
    let world = crate::ground::world();
    let flags = ["run", "-d", "--name", "stays", "-m", "128m", "--group", "life"];
    let started: Ran =
        world.monocore([&flags[..], &[PLAIN, "sh", "-c", SCRIPT]].concat()).output().unwrap().into();
    started.out();
    // Somebody who joins later does not get in between.
    let _other = serve(Mode::Nat, "comes", &["--group", "life"], 7001);
    let before = address("life", "stays");
    let script = "until busybox nc stays 80 </dev/null | grep here; do sleep 0.2; done";
    let ask = || visit(Mode::Nat, &["--group", "life"], &["sh", "-c", script]);
    assert_eq!(ask().out(), "here\n");
    monocore(&["stop", "-t", "0", "stays"]).out();
    assert_eq!(address("life", "stays"), before);
    let target = format!("{before}:80");
    let gone = visit(Mode::Nat, &["--group", "life"], &["net-load", "reach", &target]);
    assert_eq!(gone.out(), "2 tries, 0 connected\n");
    monocore(&["start", "stays"]).out();
    assert_eq!(address("life", "stays"), before);
    assert_eq!(ask().out(), "here\n");
    monocore(&["rm", "-f", "stays"]).out();
    let members = monocore(&["network", "ls"]);
    assert!(members.out().contains("comes") && !members.stdout.contains("stays"), "{members:?}");
}

#[test]
fn a_network_is_made_named_and_removed_as_with_docker() {
    monocore(&["network", "create", "--subnet", "10.9.8.0/24", "docker"]).out();
    let again = monocore(&["network", "create", "docker"]);
    assert!(again.code == 1 && again.stderr.contains("group docker: it exists already"), "{again:?}");
    let unknown = visit(Mode::Nat, &["--network", "nobodys"], &["true"]);
    assert!(unknown.code == 125 && unknown.stderr.contains("monocore network create nobodys"), "{unknown:?}");
    {
        let flags = ["--network", "docker", "--network-alias", "cache"];
        let _server = serve(Mode::Nat, "named", &flags, 7002);
        let shown = visit(Mode::Nat, &["--network", "docker"], &["sh", "-c", "busybox nslookup cache"]);
        assert!(shown.stdout.contains("10.9.8.2"), "{shown:?}");
        let busy = monocore(&["network", "rm", "docker"]);
        assert!(busy.code == 1 && busy.stderr.contains("sandbox named is running"), "{busy:?}");
    }
    monocore(&["create", "--name", "later", "-m", "128m", PLAIN, "sleep", "1000"]).out();
    monocore(&["network", "connect", "--alias", "store", "docker", "later"]).out();
    let twice = monocore(&["network", "connect", "docker", "later"]);
    assert!(twice.code == 1 && twice.stderr.contains("a member of docker already"), "{twice:?}");
    monocore(&["start", "later"]).out();
    let shown = visit(Mode::Nat, &["--network", "docker"], &["sh", "-c", "busybox nslookup store"]);
    assert!(shown.stdout.contains(&address("docker", "later")), "{shown:?}");
    monocore(&["stop", "-t", "0", "later"]).out();
    monocore(&["network", "disconnect", "docker", "later"]).out();
    assert!(!monocore(&["network", "inspect", "docker"]).out().contains("later"));
    monocore(&["rm", "later"]).out();
    assert_eq!(monocore(&["network", "rm", "docker"]).out(), "docker\n");
    let gone = monocore(&["network", "inspect", "docker"]);
    assert!(gone.code == 1 && gone.stderr.contains("no such group: docker"), "{gone:?}");
}

/// A sandbox that runs and can be reached from its group, joins another one, and leaves it.
fn joins_and_leaves(mode: Mode, other: Mode) {
    const SCRIPT: &str = "busybox nc -ll -p 80 -e echo here & sleep 1000";
    let world = crate::ground::world();
    let (name, group) = (format!("joins-{}", mode.name()), format!("live-{}", mode.name()));
    let visitor = ["--name", &format!("visits-{}", mode.name()), "--group", &group].map(str::to_owned);
    let run = |words: &[&str]| -> Ran { world.monocore(words).output().unwrap().into() };
    run(&["network", "create", &group]).out();
    let flags = ["run", "-d", "--name", &name, "-m", "128m", "--network", mode.name()];
    run(&[&flags[..], &[PLAIN, "sh", "-c", SCRIPT]].concat()).out();
    // From the group to the sandbox, and back.
    let visitor: Vec<&str> = visitor.iter().map(String::as_str).collect();
    let flags = ["run", "-d", "-m", "128m", "--network", other.name()];
    run(&[&flags[..], &visitor, &[PLAIN, "sh", "-c", SCRIPT]].concat()).out();
    let reach = |from: &str, to: &str| {
        let script = format!("timeout 20 busybox nc {to} 80 </dev/null");
        run(&["exec", from, "sh", "-c", &script]).stdout
    };
    assert_eq!(reach(visitor[1], &name), "", "no member yet");
    run(&["network", "connect", "--alias", "late", &group, &name]).out();
    assert_eq!(reach(visitor[1], "late"), "here\n");
    assert_eq!(reach(visitor[1], &name), "here\n");
    assert_eq!(reach(&name, visitor[1]), "here\n");
    let own = address(&group, &name);
    assert!(run(&["exec", &name, "busybox", "ip", "address"]).out().contains(&own));
    let twice = run(&["network", "connect", &group, &name]);
    assert!(twice.code == 1 && twice.stderr.contains("already"), "{twice:?}");
    // It is still a member when its machine is another one, with the same address.
    run(&["restart", "-t", "0", &name]).out();
    assert_eq!(address(&group, &name), own);
    let again = format!("until busybox nc {own} 80 </dev/null | grep here; do sleep 0.2; done");
    assert_eq!(run(&["exec", visitor[1], "sh", "-c", &again]).out(), "here\n");
    let far = address(&group, visitor[1]);
    run(&["network", "disconnect", &group, &name]).out();
    assert!(!run(&["exec", &name, "busybox", "ip", "address"]).out().contains(&own));
    for (from, to) in [(visitor[1], own.as_str()), (visitor[1], &name), (&name, far.as_str())] {
        assert_eq!(reach(from, to), "", "{from} to {to}");
    }
    run(&["rm", "-f", &name, visitor[1]]).out();
    run(&["network", "rm", &group]).out();
}

#[test]
fn a_running_sandbox_with_a_card_joins_and_leaves_a_group() {
    joins_and_leaves(Mode::Nat, Mode::Tsi);
}

#[test]
fn a_running_sandbox_with_carried_sockets_joins_and_leaves_a_group() {
    joins_and_leaves(Mode::Tsi, Mode::Nat);
}
