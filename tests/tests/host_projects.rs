//! Projects whose command is killed at each of its steps: the next command finishes the work, and nothing is left.
//!
//! strace(1) kills the command at its first, second, … system call that changes a file. No guest runs: sandboxes are made,
//! changed and removed.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use monocore_tests::world::{Ran, World, binary};

/// System calls that open or change what is on disk, or take a lock.
const CALLS: &str = "/^(openat|rename|unlink|rmdir|mkdir|symlink|link|write$|pwrite|fsync|fdatasync|flock|ftruncate|fallocate|fchmod)";
/// More steps than a command has.
const MOST: u32 = 1000;

struct KilledProject {
    name: &'static str,
    dir: PathBuf,
}

fn services(names: &[&str], more: &str) -> String {
    let service = |name: &&str| {
        format!(
            "[[service]]\nname = \"{name}\"\nbase = \"test/plain:latest\"\ngroup = \"g\"\nvolumes = [\"data:/data\"]\n{more}\n"
        )
    };
    let services: String = names.iter().map(service).collect();
    format!("{services}[[group]]\nname = \"g\"\n")
}

impl KilledProject {
    fn new(name: &'static str) -> Self {
        let dir = World::get().path(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self { name, dir }
    }

    fn write(&self, toml: &str) {
        std::fs::write(self.dir.join("monocore.toml"), toml).unwrap();
    }

    /// Its state lies apart from that of other tests, so that all of it can be looked at.
    fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    fn prepare(&self) {
        // The image store of the world is taken along.
        std::fs::create_dir_all(self.home()).unwrap();
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]).arg(World::get().home().join("oci")).arg(self.home());
        assert!(copy.status().unwrap().success());
    }

    fn finish(&self, command: &mut Command) -> Ran {
        command.current_dir(&self.dir).env("MONOCORE_HOME", self.home()).stdin(Stdio::null());
        command.output().unwrap().into()
    }

    fn ran(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(binary());
        command.args(words);
        self.finish(&mut command)
    }

    /// Runs a command that is killed at the `count`th call of one of its threads; false if it came to its end before.
    fn was_killed(&self, count: u32, words: &[&str]) -> bool {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}")]);
        command.args(["-e", &format!("inject={CALLS}:signal=KILL:when={count}"), "--"]);
        command.arg(binary()).args(words);
        let ran = self.finish(&mut command);
        assert!([0, 137].contains(&ran.code), "{count}: {ran:?}");
        ran.code == 137
    }

    fn sandboxes(&self) -> Vec<String> {
        let status: serde_json::Value =
            serde_json::from_str(self.ran(&["status", "--format", "json"]).out()).unwrap();
        status.as_array().unwrap().iter().map(|row| row["service"].as_str().unwrap().to_owned()).collect()
    }

    /// Nothing of the project is on disk.
    #[track_caller]
    fn assert_clean(&self, count: u32) {
        for dir in ["sandboxes", "names", "groups", "volumes", "run"] {
            let entries = std::fs::read_dir(self.home().join(dir)).into_iter().flatten().flatten();
            let names: Vec<_> =
                entries.map(|entry| entry.file_name()).filter(|name| name != ".lock").collect();
            assert!(names.is_empty(), "killed at {count}, {dir} has {names:?}");
        }
    }

    /// Kills `words` at every step; `before` makes the state that it begins with, `after` finishes it and looks. How many
    /// steps there were.
    fn at_each_step(&self, words: &[&str], before: impl Fn(), after: impl Fn(u32)) -> u32 {
        for count in 1..MOST {
            before();
            let was_killed = self.was_killed(count, words);
            after(count);
            if !was_killed {
                return count - 1;
            }
        }
        panic!("{} {words:?} has no end", self.name);
    }
}

#[test]
fn the_next_command_finishes_what_a_killed_one_began() {
    let project = KilledProject::new("killed");
    project.prepare();
    let first = services(&["a", "b"], "");
    let create = ["compose", "create"];
    let down = ["down", "-v", "-t", "0"];
    let gone = |count| {
        assert_eq!(project.ran(&down).code, 0);
        project.assert_clean(count);
    };
    let created = project.at_each_step(
        &create,
        || project.write(&first),
        |count| {
            let again = project.ran(&create);
            assert_eq!(again.code, 0, "killed at {count}: {again:?}");
            assert_eq!(project.sandboxes(), ["a", "b"], "killed at {count}");
            gone(count);
        },
    );
    let removed = project.at_each_step(
        &down,
        || {
            project.write(&first);
            project.ran(&create).out();
        },
        gone,
    );
    // Another file: one service is replaced, one changed in place, one is new.
    let second = services(&["b"], "port = \"18080:80\"\nrestart = \"always\"")
        + &services(&["a", "c"], "envs = [\"A=b\"]").replace("[[group]]\nname = \"g\"\n", "");
    let changed = project.at_each_step(
        &create,
        || {
            project.write(&first);
            project.ran(&create).out();
            project.write(&second);
        },
        |count| {
            let again = project.ran(&create);
            assert_eq!(again.code, 0, "killed at {count}: {again:?}");
            assert_eq!(project.sandboxes(), ["a", "b", "c"], "killed at {count}");
            let plan = project.ran(&["up", "--dry-run", "--format", "json"]);
            let plan: serde_json::Value = serde_json::from_str(plan.out()).unwrap();
            let all_start = plan.as_array().unwrap().iter().all(|step| step["change"] == "start");
            assert!(all_start, "killed at {count}: {plan}");
            gone(count);
        },
    );
    eprintln!("killed {created} times while making, {removed} while removing, {changed} while changing");
    assert!(created + removed + changed >= 60, "{created} {removed} {changed}");
}
