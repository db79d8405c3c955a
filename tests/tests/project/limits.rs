//! Limits and checks that change while a service runs.

use crate::support::TestProject;

fn service(more: &str) -> String {
    format!(
        "[[service]]\nname = \"web\"\nbase = \"test/plain:latest\"\ncommand = \"/bin/sleep\"\nargs = [\"1000\"]\nshm_size = \"100m\"\n{more}\n"
    )
}

#[test]
fn limits_change_while_a_service_runs_and_a_larger_machine_keeps_the_disk() {
    let project = TestProject::new("project-limits", &service("ram = 192"));
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    let id = project.id_of("web");
    let inside = |script: &str| project.ran(&["exec", "web", "sh", "-c", script]);
    let limits = || inside("cd /sys/fs/cgroup; cat memory.max cpu.max pids.max").out().to_owned();
    assert_eq!(limits(), "max\nmax 100000\nmax\n");
    inside("echo $(cut -d' ' -f22 /proc/2/stat) > /began").out();
    let check = "healthcheck = { test = [\"CMD\", \"test\", \"-e\", \"/began\"], interval = \"200ms\" }\n";
    let less = format!("ram = 128\ncpus = 0.5\npids_limit = 99\nstop_grace_period = \"1s\"\n{check}");
    project.write(&service(&less));
    let plan = project.ran(&["up", "--dry-run"]);
    for part in ["update", "cpus", "memory", "pids_limit", "health", "stop"] {
        assert!(plan.out().contains(part), "{part} in {plan:?}");
    }
    assert_eq!(project.ran(&["up", "-d", "--wait"]).code, 0);
    assert_eq!(limits(), "134217728\n50000 100000\n99\n");
    assert_eq!(project.id_of("web"), id);
    assert_eq!(inside("test $(cut -d' ' -f22 /proc/2/stat) = $(cat /began)").code, 0, "it was not restarted");
    assert!(project.ran(&["ps"]).out().contains("(healthy)"));
    let again = project.ran(&["up", "--dry-run", "--format", "json"]);
    assert!(again.out().contains("\"keep\""), "{again:?}");
    // By hand, too; what is in use is not taken away.
    assert_eq!(project.ran(&["update", "--memory", "160m", "web"]).code, 0);
    assert_eq!(limits(), "167772160\n50000 100000\n99\n");
    inside("head -c 80000000 /dev/zero > /dev/shm/used").out();
    let refused = project.ran(&["update", "--memory", "64m", "web"]);
    assert!(refused.code == 1 && refused.stderr.contains("MiB of memory"), "{refused:?}");
    assert_eq!(limits(), "167772160\n50000 100000\n99\n");
    // A limit on memory holds: its processes are ended, not the machine.
    let greedy = inside("rm /dev/shm/used; tail -c 300000000 /dev/zero | wc -c");
    assert_eq!(greedy.stdout.trim(), "0", "{greedy:?}");
    project.write(&service("ram = 256"));
    let plan = project.ran(&["up", "--dry-run"]);
    assert!(plan.out().contains("restart") && plan.out().contains("memory"), "{plan:?}");
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    assert_eq!(project.id_of("web"), id);
    assert_eq!(inside("test -s /began && cat /sys/fs/cgroup/memory.max").out(), "max\n");
    let total: u64 = inside("awk '/MemTotal/ {print $2}' /proc/meminfo").out().trim().parse().unwrap();
    assert!(total > 200_000, "{total}");
}
