//! `up` in the foreground.

use std::io::Read;
use std::process::Stdio;

use monocore_tests::typist::Typist;
use monocore_tests::wait::eventually;
use monocore_tests::world::World;

use crate::support::TestProject;

const TALKERS: &str = r#"
[[service]]
name = "a"
base = "test/plain:latest"
ram = 128
command = "/bin/sh"
args = ["-c", "echo from a; exit 3"]

[[service]]
name = "b"
base = "test/plain:latest"
ram = 128
command = "/bin/sh"
args = ["-c", "echo from b; trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done"]
"#;

#[test]
fn output_is_shown_and_an_interrupt_stops_everything() {
    let project = TestProject::new("project-attached", TALKERS);
    let mut up = project.command(&["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("one has ended and the other spoke", || {
        project.status_of("a") == "exited" && project.ran(&["log", "b"]).out().contains("from b")
    });
    let pid = rustix::process::Pid::from_child(&up);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    up.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    up.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(up.wait().unwrap().code(), Some(130), "{stdout}{stderr}");
    for line in
        ["project-attached-a-1 | from a\n", "project-attached-b-1 | from b\n", "project-attached-b-1 | bye\n"]
    {
        assert!(stdout.contains(line), "{line:?} in {stdout}");
    }
    assert!(stderr.contains("project-attached-a-1 exited with code 3"), "{stderr}");
    assert_eq!(project.status_of("b"), "exited");
}

#[test]
fn on_a_terminal_each_sandbox_has_one_line_that_changes() {
    let project = TestProject::new("project-lines", TALKERS);
    let file = World::get().path("project-lines/monocore.toml");
    let mut typist = Typist::start(24, 80, &["up", "-d", "-f", file.to_str().unwrap()]);
    typist.wait_for("project-lines-b-1  \u{1b}[32mStarted");
    assert_eq!(typist.end(), 0, "{}", typist.seen);
    // The cursor goes up to change a line.
    assert!(typist.seen.contains("\u{1b}[1A"), "{:?}", typist.seen);
    let plain = project.ran(&["up", "-d"]);
    assert!(!plain.stderr.contains('\u{1b}'), "{plain:?}");
    let json = project.ran(&["up", "-d", "--force-recreate", "--format", "json"]);
    let steps: Vec<serde_json::Value> =
        json.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(steps.iter().any(|step| step["service"] == "b" && step["step"] == "started"), "{steps:?}");
}
