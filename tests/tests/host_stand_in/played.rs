//! A state directory whose sandboxes are played, and the processes that belong to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use monocore_tests::stand_in::FAULT_VARIABLE;
use monocore_tests::wait::eventually;
use monocore_tests::world::Ran;

use crate::kept::Kept;

/// The image of every sandbox.
pub(crate) const IMAGE: &str = "test/plain:latest";

/// Whether this run has time for all that can be done.
pub(crate) fn is_long() -> bool {
    std::env::var_os("MONOCORE_TEST_LONG").is_some()
}

/// See the module.
pub(crate) struct Played {
    pub(crate) kept: Kept,
}

impl Played {
    /// A state directory in which a sandbox has run, so that folders that stay are there.
    pub(crate) fn new(name: &str) -> Self {
        let played = Self { kept: Kept::of(name, env!("CARGO_BIN_EXE_stand-in").into()) };
        played.create("first", &[], &["true"]);
        played.all(&[&["start", "first"], &["wait", "first"], &["rm", "-f", "first"]]);
        played
    }

    /// Where what befalls the processes is written. Its path is in the environment of each of them.
    pub(crate) fn fault(&self) -> PathBuf {
        self.kept.home().with_extension("fault")
    }

    /// `stand-in` with these words, started by `with` if it is given.
    pub(crate) fn command(&self, with: Option<&mut Command>, words: &[&str]) -> Command {
        let mut command = self.kept.command(with, words);
        command.env(FAULT_VARIABLE, self.fault()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.command(None, words).output().unwrap().into()
    }

    /// All of these commands, which must succeed.
    #[track_caller]
    pub(crate) fn all(&self, commands: &[&[&str]]) {
        for words in commands {
            let ran = self.run(words);
            assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        }
    }

    #[track_caller]
    pub(crate) fn create(&self, name: &str, flags: &[&str], command: &[&str]) {
        self.all(&[&[&["create", "--name", name], flags, &[IMAGE], command].concat()]);
    }

    /// The processes of this state directory that play `role`: `supervise` or `vmm`.
    pub(crate) fn processes(&self, role: &str) -> Vec<u32> {
        let marker = format!("{FAULT_VARIABLE}={}", self.fault().display());
        let is_ours = |process: &Path| {
            let words = |file: &str| {
                let bytes = std::fs::read(process.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).split('\0').map(str::to_owned).collect::<Vec<_>>()
            };
            words("cmdline").get(1).is_some_and(|word| word == role) && words("environ").contains(&marker)
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers =
            processes.filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse().ok()?)));
        numbers.filter(|(path, _)| is_ours(path)).map(|(_, number)| number).collect()
    }

    /// Waits until none of the processes is left.
    #[track_caller]
    pub(crate) fn no_process_stays(&self, case: &str) {
        eventually(&format!("no process is left after {case}"), || {
            ["supervise", "vmm"].iter().all(|role| self.processes(role).is_empty())
        });
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // A kernel is in it. Who looks for the reason of a failure wants to see it.
            let _ = std::fs::remove_dir_all(self.kept.home());
        }
    }
}
