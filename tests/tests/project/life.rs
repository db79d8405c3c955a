//! From `up` to `down`.

use monocore_tests::wait::eventually;
use monocore_tests::world::World;

use crate::support::TestProject;

/// Two services that count, in one group.
const COUNTERS: &str = r#"
[[service]]
name = "counter"
base = "test/plain:latest"
ram = 128
group = "demo"
command = "/bin/sh"
args = ["-c", "for i in 0 1 2 3 4 5 6 7 8 9 10; do echo Count: $i; done; sleep 1000"]

[[service]]
name = "date-service"
base = "test/plain:latest"
ram = 128
group = "demo"
command = "/bin/sh"
args = ["-c", "date; echo set $MODE; sleep 1000"]
group_envs = ["main"]

[[group]]
name = "demo"
local_only = true

[[group.env]]
name = "main"
envs = ["MODE=counted"]
"#;

#[test]
fn two_services_come_up_are_looked_at_and_go() {
    let project = TestProject::new("project-demo", COUNTERS);
    let dry = project.ran(&["up", "--dry-run", "--format", "json"]);
    assert_eq!(dry.out().matches("\"create\"").count(), 2, "{dry:?}");
    assert_eq!(project.status(), serde_json::json!([]), "a dry run changes nothing");
    let up = project.ran(&["up", "-d"]);
    assert_eq!(up.code, 0, "{up:?}");
    assert!(up.stderr.contains("project-demo-counter-1  Started"), "{up:?}");
    assert_eq!(
        (project.status_of("counter"), project.status_of("date-service")),
        ("running".into(), "running".into())
    );
    let status = project.ran(&["status"]);
    assert!(status.out().contains("counter") && status.out().contains("Up "), "{status:?}");
    eventually("the counter counts", || project.ran(&["log", "counter"]).out().contains("Count: 10"));
    eventually("the service sees what the group set", || {
        project.ran(&["log", "date-service"]).out().contains("set counted")
    });
    let both = project.ran(&["log", "--grep", "Count: [34]|set"]);
    assert!(both.out().contains("project-demo-counter-1      | Count: 3\n"), "{both:?}");
    assert!(both.out().contains("project-demo-date-service-1 | set counted\n"), "{both:?}");
    assert!(!both.out().contains("Count: 5"), "{both:?}");
    let tail = project.ran(&["log", "-n", "1", "--no-prefix", "counter"]);
    assert_eq!(tail.out(), "Count: 10\n");
    let tree = project.ran(&["tree"]);
    assert!(tree.out().contains("└── group demo"), "{tree:?}");
    let removed = project.ran(&["remove", "counter"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(project.status_of("counter"), "none");
    let down = project.ran(&["down", "--group", "demo"]);
    assert_eq!(down.code, 0, "{down:?}");
    assert_eq!(project.status(), serde_json::json!([]));
}

#[test]
fn services_start_in_the_order_of_their_needs_and_stop_in_reverse() {
    let shared = World::get().path("project-order-shared");
    std::fs::create_dir_all(&shared).unwrap();
    let service = |name: &str, needs: &str| {
        format!(
            r#"
[[service]]
name = "{name}"
base = "test/plain:latest"
ram = 128
volumes = ["{}:/shared"]
command = "/bin/sh"
args = ["-c", "echo up {name} >> /shared/order; trap 'echo down {name} >> /shared/order; exit 0' TERM; while :; do sleep 0.1; done"]
{needs}
"#,
            shared.display()
        )
    };
    let job = format!(
        r#"
[[service]]
name = "job"
base = "test/plain:latest"
ram = 128
volumes = ["{}:/shared"]
command = "/bin/sh"
args = ["-c", "sleep 1; echo done job >> /shared/order"]
"#,
        shared.display()
    );
    let toml = [
        service("web", r#"depends_on = ["api"]"#),
        service("api", "depends_on.job.condition = \"completed\"\ndepends_on.db.condition = \"started\""),
        service("db", ""),
        job,
    ]
    .concat();
    let project = TestProject::new("project-order", &toml);
    let up = project.ran(&["up", "-d"]);
    assert_eq!(up.code, 0, "{up:?}");
    let order = || std::fs::read_to_string(shared.join("order")).unwrap();
    eventually("web is up", || order().contains("up web"));
    let began = order();
    let place = |line: &str| began.find(line).unwrap_or_else(|| panic!("{line} is not in {began}"));
    assert!(place("done job") < place("up api") && place("up db") < place("up api"), "{began}");
    assert_eq!(project.status_of("job"), "exited");
    let down = project.ran(&["down"]);
    assert_eq!(down.code, 0, "{down:?}");
    assert!(order().ends_with("down web\ndown api\ndown db\n"), "{}", order());
}

#[test]
fn a_failed_need_stops_what_was_started() {
    let toml = r#"
[[service]]
name = "job"
base = "test/plain:latest"
ram = 128
command = "/bin/false"

[[service]]
name = "other"
base = "test/plain:latest"
ram = 128
command = "/bin/sleep"
args = ["1000"]

[[service]]
name = "web"
base = "test/plain:latest"
ram = 128
command = "/bin/sleep"
args = ["1000"]
depends_on.job.condition = "completed"
depends_on.other.condition = "started"
"#;
    let project = TestProject::new("project-failed", toml);
    let up = project.ran(&["up", "-d"]);
    assert_eq!(up.code, 1, "{up:?}");
    assert!(up.stderr.contains("service web was not started: it needs job"), "{up:?}");
    assert!(up.stderr.contains("ended with status 1"), "{up:?}");
    assert_eq!((project.status_of("web"), project.status_of("other")), ("none".into(), "exited".into()));
}

#[test]
fn a_bad_file_starts_nothing_and_tells_all_faults_with_their_places() {
    let toml =
        "[[service]]\nname = \"web\"\nbase = \"test/plain:latest\"\nprots = [\"8080:80\"]\nram = \"much\"\n";
    let project = TestProject::new("project-bad", toml);
    let up = project.ran(&["up", "-d"]);
    assert_eq!(up.code, 1, "{up:?}");
    assert!(up.stderr.contains("monocore.toml:4:1:") && up.stderr.contains("ports"), "{up:?}");
    assert!(up.stderr.contains("monocore.toml:5:"), "{up:?}");
    project.write("[[service]]\nname = \"web\"\nbase = \"test/plain:latest\"\n");
    assert_eq!(project.status(), serde_json::json!([]));
}
