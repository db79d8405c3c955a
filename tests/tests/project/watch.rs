//! `up --watch`: files of this host arrive in the sandbox.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use monocore_tests::wait::eventually;
use monocore_tests::world::World;

use crate::support::TestProject;

const WATCHING: &str = r#"
[[service]]
name = "web"
base = "test/plain:latest"
ram = 128
command = "/bin/sh"
args = ["-c", "echo began with $(cat /conf 2>/dev/null); trap 'exit 0' TERM; while :; do sleep 0.1; done"]
watch = [
  { path = "src", target = "/app/src", ignore = ["*.log"] },
  { path = "conf", target = "/conf", action = "sync+restart" },
]
"#;

#[test]
fn changed_files_are_copied_and_the_service_is_restarted() {
    let project = TestProject::new("project-watch", WATCHING);
    let dir = World::get().path("project-watch");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    std::fs::write(dir.join("conf"), "first").unwrap();
    let mut up =
        project.command(&["up", "--watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(up.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(line(), "project-watch-web-1 | began with\n");
    let shown = |script: &str| project.ran(&["exec", "web", "sh", "-c", script]);
    std::fs::write(dir.join("src/page"), "hello").unwrap();
    std::fs::write(dir.join("src/noise.log"), "x").unwrap();
    eventually("the page is copied", || shown("cat /app/src/page").stdout == "hello");
    assert_eq!(shown("ls /app/src").out(), "page\n");
    std::fs::create_dir_all(dir.join("src/a/b")).unwrap();
    std::fs::write(dir.join("src/a/b/deep"), "deep").unwrap();
    eventually("the deep file is copied", || shown("cat /app/src/a/b/deep").stdout == "deep");
    std::fs::remove_dir_all(dir.join("src/a")).unwrap();
    eventually("the folder is removed", || shown("test -e /app/src/a").code != 0);
    // As editors save.
    std::fs::write(dir.join("conf.tmp"), "second").unwrap();
    std::fs::rename(dir.join("conf.tmp"), dir.join("conf")).unwrap();
    assert_eq!(line(), "project-watch-web-1 | began with second\n");
    assert_eq!(shown("cat /app/src/page").out(), "hello", "a restart keeps the disk");
    let pid = rustix::process::Pid::from_child(&up);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut stderr = String::new();
    up.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(up.wait().unwrap().code(), Some(130), "{stderr}");
    assert!(stderr.contains("project-watch-web-1  Synced 1 file"), "{stderr}");
    assert_eq!(project.status_of("web"), "exited");
}
