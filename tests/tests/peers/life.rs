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
    let running = monocore(&["network", "disconnect", "docker", "later"]);
    assert!(running.code == 1 && running.stderr.contains("stop later first"), "{running:?}");
    monocore(&["stop", "-t", "0", "later"]).out();
    monocore(&["network", "disconnect", "docker", "later"]).out();
    assert!(!monocore(&["network", "inspect", "docker"]).out().contains("later"));
    monocore(&["rm", "later"]).out();
    assert_eq!(monocore(&["network", "rm", "docker"]).out(), "docker\n");
    let gone = monocore(&["network", "inspect", "docker"]);
    assert!(gone.code == 1 && gone.stderr.contains("no such group: docker"), "{gone:?}");
}
