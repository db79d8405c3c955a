//! A state directory of one test's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use monocore_tests::world::{Ran, World, binary};

pub(crate) struct Kept {
    home: PathBuf,
    program: PathBuf,
}

impl Kept {
    /// A state directory with an image in it and nothing else.
    pub(crate) fn new(name: &str) -> Self {
        Self::of(name, binary())
    }

    /// The same, with another program in `monocore`'s place.
    pub(crate) fn of(name: &str, program: PathBuf) -> Self {
        let world = World::get();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let home = world.path(&format!("kept-{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let copied = Command::new("cp").arg("-a").arg(world.home()).arg(&home).status().unwrap();
        assert!(copied.success());
        Self { home, program }
    }

    /// Where the state directory is.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// `monocore` with these arguments, started by `with` if it is given.
    pub(crate) fn command(&self, with: Option<&mut Command>, arguments: &[&str]) -> Command {
        let mut command = match with {
            Some(with) => {
                let mut command = Command::new(with.get_program());
                command.args(with.get_args()).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(arguments).env("MONOCORE_HOME", &self.home).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command(None, arguments).output().unwrap().into()
    }

    /// All of these commands, which must succeed.
    #[track_caller]
    pub(crate) fn all(&self, commands: &[&[&str]]) {
        for command in commands {
            let ran = self.run(command);
            assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
        }
    }

    /// What these commands say, without what differs from time to time.
    pub(crate) fn sight(&self, commands: &[&[&str]]) -> String {
        commands.iter().map(|command| format!("{:?}\n", self.run(command))).collect()
    }

    /// Every file, by its path.
    pub(crate) fn tree(&self) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        walk(&self.home, &mut all);
        all
    }

    /// Fails if there is a file that is not of `files`, or one of them is missing.
    #[track_caller]
    pub(crate) fn holds_only(&self, files: &BTreeSet<PathBuf>, case: &str) {
        let now = self.tree();
        let (more, less): (Vec<_>, Vec<_>) =
            (now.difference(files).collect(), files.difference(&now).collect());
        assert!(more.is_empty() && less.is_empty(), "{case}: left behind {more:?}, lost {less:?}");
    }
}

fn walk(folder: &Path, all: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), all);
        }
        all.insert(entry.path());
    }
}
