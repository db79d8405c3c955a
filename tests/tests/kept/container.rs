//! The namespaces and control groups that commands run in.

use monocore_tests::world::World;

use crate::support::{Background, ran, until};

#[test]
fn commands_see_neither_the_agent_nor_the_kernels_threads() {
    let sandbox = Background::run("container-pids", &[], "(sleep 0.2; sleep 998) & exec sleep 999");
    // Process 1 is the init that reaps; the command is the first after it.
    let told = sandbox.exec(&[], "cat /proc/1/comm /proc/2/comm; cat /proc/[0-9]*/comm | sort | uniq");
    let names: Vec<&str> = told.out().lines().collect();
    assert_eq!(names[..2], ["init", "sleep"], "{told:?}");
    // Busybox's shell starts its own programs by way of `/proc/self/exe`.
    for name in &names[2..] {
        assert!(["cat", "exe", "init", "sh", "sleep", "sort", "uniq"].contains(name), "{name} in {told:?}");
    }
    // What kills every process that it may does not end the agent, nor process 1.
    let refused = sandbox.exec(&[], "kill -9 1; kill -STOP 1; cat /proc/1/comm");
    assert_eq!(refused.out(), "init\n");
    // What calls it is spared, until the command's end takes everything along.
    sandbox.exec(&[], "kill -9 -1");
    until("the end", || {
        ran(&[&["inspect", "-f", "{{.State.Status}}", "container-pids"]]).out() == "exited\n"
    });
    assert_eq!(ran(&[&["inspect", "-f", "{{.State.ExitCode}}", "container-pids"]]).out(), "137\n");
}

#[test]
fn process_1_reaps_orphans_and_passes_signals_on() {
    let script = "trap 'echo got TERM; exit 7' TERM; (sleep 0.01 &); while :; do sleep 0.1; done";
    let sandbox = Background::run("container-init", &[], script);
    until("the orphan's end", || sandbox.exec(&[], "grep -l zombie /proc/[0-9]*/status").stdout.is_empty());
    sandbox.exec(&[], "kill 1").out();
    assert_eq!(ran(&[&["wait", "container-init"]]).out(), "7\n");
    assert_eq!(ran(&[&["logs", "container-init"]]).out(), "got TERM\n");
}

#[test]
fn the_command_is_process_1_if_the_user_says_so() {
    let world = World::get();
    let told = world.script(&["--init=false"], "echo $$; cat /proc/1/comm /proc/self/cgroup; true");
    assert_eq!(told.out(), "1\nsh\n0::/\n");
    let told = world.script(&["--init"], "echo $$; cat /proc/1/comm /proc/self/cgroup");
    assert_eq!(told.out(), "2\ninit\n0::/commands\n");
    let sandbox = Background::run("container-first", &["--init=false"], "sleep 1000");
    assert_eq!(sandbox.exec(&[], "cat /proc/1/comm /proc/self/cgroup").out(), "sleep\n0::/commands\n");
    // As in Docker: without a handler, process 1 does not end by SIGTERM.
    ran(&[&["stop", "-t", "1", "container-first"]]).out();
    assert_eq!(ran(&[&["wait", "container-first"]]).out(), "137\n");
}

#[test]
fn groups_are_the_commands_own() {
    let world = World::get();
    // What dockerd and k3s do: a group beside the commands' with every controller.
    let script = "cd /sys/fs/cgroup && for c in $(cat cgroup.controllers); do echo +$c > cgroup.subtree_control; done; \
                  mkdir mine && echo $$ > mine/cgroup.procs && cat /proc/self/cgroup && \
                  echo 20 > mine/pids.max && echo 64M > mine/memory.max && cat mine/memory.max";
    let told = world.script(&[], script);
    assert_eq!(told.out(), "0::/mine\n67108864\n");
    let all = world.script(&[], "cat /sys/fs/cgroup/cgroup.controllers");
    for name in ["cpuset", "cpu", "io", "memory", "pids"] {
        assert!(all.out().split_whitespace().any(|known| known == name), "{name} in {all:?}");
    }
    let half = world.script(&["--cpus", "0.5"], "cat /sys/fs/cgroup/cpu.max; nproc");
    assert_eq!(half.out(), "50000 100000\n1\n");
}

#[test]
fn a_fork_bomb_is_bounded() {
    let sandbox = Background::run("container-bomb", &["--pids-limit", "40"], "sleep 1000");
    let bomb = sandbox.exec(&[], "bomb() { bomb | bomb & }; bomb; sleep 3; cat /sys/fs/cgroup/pids.current");
    let most: u32 = bomb.stdout.trim().parse().unwrap_or(0);
    assert!(most <= 40, "{bomb:?}");
    assert!(ran(&[&["stats", "--format", "json", "container-bomb"]]).code == 0);
    ran(&[&["kill", "container-bomb"]]).out();
}
