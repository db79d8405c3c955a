//! Docker Compose's words on a compose.yaml.

use monocore_tests::wait::eventually;
use monocore_tests::world::{Ran, World};

/// Two services as Compose files describe them.
const FILE: &str = r#"
services:
  web:
    image: test/plain:latest
    mem_limit: 128m
    command: ["sh", "-c", "echo from web; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    environment:
      MODE: ${MODE:-usual}
    depends_on: [db]
  db:
    image: test/plain:latest
    mem_limit: 128m
    command: sleep 1000
    volumes: ["data:/data"]
volumes:
  data:
"#;

struct ComposeProject {
    dir: std::path::PathBuf,
}

impl ComposeProject {
    fn ran(&self, words: &[&str]) -> Ran {
        let words = [&["compose", "-p", "composed"], words].concat();
        World::get().monocore(words).current_dir(&self.dir).output().unwrap().into()
    }
}

impl Drop for ComposeProject {
    fn drop(&mut self) {
        let down = self.ran(&["down", "-v", "-t", "0"]);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "{down:?}");
        }
    }
}

#[test]
fn habits_of_compose_carry_over() {
    let dir = World::get().path("composed");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("compose.yaml"), FILE).unwrap();
    let project = ComposeProject { dir };
    assert_eq!(project.ran(&["config", "--services"]).out(), "web\ndb\n");
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    let listed = project.ran(&["ps", "--format", "json"]);
    assert_eq!(listed.out().matches("\"running\"").count(), 2, "{listed:?}");
    assert!(project.ran(&["ls"]).out().contains("composed"));
    eventually("the line is shown with its service", || {
        project.ran(&["logs", "web"]).out().contains("composed-web-1 | from web")
    });
    assert_eq!(project.ran(&["exec", "-T", "web", "sh", "-c", "echo $MODE"]).out(), "usual\n");
    assert_eq!(project.ran(&["exec", "-T", "-e", "A=b", "db", "sh", "-c", "echo $A > /data/kept"]).code, 0);
    let once = project.ran(&["run", "--rm", "-T", "db", "cat", "/data/kept"]);
    assert_eq!(once.out(), "b\n");
    let copied = project.dir.join("kept");
    assert_eq!(project.ran(&["cp", "db:/data/kept", copied.to_str().unwrap()]).code, 0);
    assert_eq!(std::fs::read_to_string(&copied).unwrap(), "b\n");
    assert!(project.ran(&["top", "db"]).out().contains("sleep 1000"));
    assert!(project.ran(&["images"]).out().contains("test/plain:latest"));
    assert_eq!(project.ran(&["stop", "-t", "0", "db"]).code, 0);
    assert_eq!(project.ran(&["exec", "-T", "db", "true"]).code, 125);
    // What does not run is listed with `-a`.
    let ids = |flags: &str| project.ran(&["ps", flags]).out().lines().count();
    assert_eq!((ids("-q"), ids("-aq")), (1, 2));
    assert_eq!(project.ran(&["start", "db"]).code, 0);
    assert_eq!(project.ran(&["kill", "-s", "TERM", "web"]).code, 0);
    assert_eq!(project.ran(&["wait", "web"]).out(), "0\n");
    assert_eq!(project.ran(&["rm", "-f", "web"]).code, 0);
    let left = project.ran(&["ps", "--format", "json"]);
    assert_eq!(left.out().matches("composed-").count(), 1, "{left:?}");
    let unknown = project.ran(&["stop", "nobody"]);
    assert_eq!(unknown.code, 125);
    assert!(unknown.stderr.contains("project composed has no service nobody"), "{unknown:?}");
    let build = project.ran(&["build"]);
    assert!(build.stderr.contains("does not build images yet"), "{build:?}");
}
