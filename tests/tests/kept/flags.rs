//! Docker's flags of `run` as a command in the guest sees them.

use monocore_tests::wait::eventually;
use monocore_tests::world::{PLAIN, World};

use crate::support::{Background, ran, until};

#[test]
fn a_command_has_the_rights_and_names_that_flags_give_it() {
    let world = World::get();
    let (labels, id) = (world.path("flags-labels"), world.path("flags-id"));
    std::fs::write(&labels, "# comment\nfrom=file\nboth=file\n").unwrap();
    let flags = [
        "--cap-drop",
        "ALL",
        "--cap-add",
        "chown",
        "--security-opt",
        "no-new-privileges",
        "--group-add",
        "77",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--pids-limit",
        "30",
        "--domainname",
        "dom.example",
        "--dns-option",
        "ndots:2",
        "-h",
        "box",
        "--label-file",
        labels.to_str().unwrap(),
        "-l",
        "both=flag",
        "--cidfile",
        id.to_str().unwrap(),
        "--net",
        "bridge",
        "--mem",
        "160m",
        "-c",
        "512",
    ];
    let sandbox = Background::run("flags-one", &flags, "sleep 1000");
    let told = sandbox.exec(
        &[],
        "grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status | cut -f2; id -G; cat /proc/sys/net/ipv4/ip_forward; \
         cat /proc/sys/kernel/domainname; hostname; grep options /etc/resolv.conf; \
         cat /sys/fs/cgroup/pids.max /proc/self/cgroup",
    );
    let wanted = "0000000000000001\n0000000000000001\n1\n0 77\n1\ndom.example\nbox\noptions ndots:2\n30\n0::/commands\n";
    assert_eq!(told.out().replace("0 10 77", "0 77"), wanted);
    let bomb = sandbox.exec(&[], "i=0; while [ $i -lt 60 ]; do sleep 3 & i=$((i+1)); done; wait");
    assert!(bomb.stderr.contains("fork"), "{bomb:?}");
    // Those that are killed with it count until they are gone.
    until("room for processes", || sandbox.exec(&[], "cat /proc/self/status | cat").code == 0);
    let all = sandbox.exec(&["--privileged"], "grep -E 'CapEff|NoNewPrivs' /proc/self/status | cut -f2");
    assert!(all.out().starts_with("000001ffffffffff\n0"), "{all:?}");
    assert_eq!(std::fs::read_to_string(&id).unwrap(), sandbox.inspect()["Id"]);
    let labels = ran(&[&["inspect", "-f", "{{json .Config.Labels}} {{.Config.Domainname}}", "flags-one"]]);
    assert_eq!(labels.out(), "{\"both\":\"flag\",\"from\":\"file\"} dom.example\n");
    let again = ran(&[&["create", "--cidfile", id.to_str().unwrap(), PLAIN, "true"]]);
    assert_eq!((again.code, again.stderr.contains("--cidfile")), (125, true), "{again:?}");
}

#[test]
fn mounts_come_from_another_sandbox_and_streams_are_chosen() {
    let _first = Background::run("flags-from", &["-v", "flags-vol:/d"], "echo shared > /d/file; sleep 1000");
    eventually("the file is there", || ran(&[&["exec", "flags-from", "test", "-s", "/d/file"]]).code == 0);
    let world = World::get();
    let told = world.script(
        &["--volumes-from", "flags-from:ro", "-a", "stdout"],
        "cat /d/file; echo hidden >&2; echo x > /d/new",
    );
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (1, "shared\n", ""));
    let refused = world.script(&["--gpus", "all"], "true");
    assert_eq!((refused.code, refused.stderr.contains("--gpus: not supported")), (125, true));
}
