//! A project's directory, taken down when the test ends.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use monocore_tests::world::{Ran, World};

/// Held by tests that publish the ports that files name.
pub(crate) fn ports() -> MutexGuard<'static, ()> {
    static PORTS: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing half done.
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A project of one test.
pub(crate) struct TestProject {
    world: &'static World,
    dir: PathBuf,
}

impl TestProject {
    /// A directory of this name with `monocore.toml`.
    pub(crate) fn new(name: &str, toml: &str) -> Self {
        Self::new_in(World::get(), name, toml)
    }

    /// The same in another world.
    pub(crate) fn new_in(world: &'static World, name: &str, toml: &str) -> Self {
        let dir = world.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        let project = Self { world, dir };
        project.write(toml);
        project
    }

    /// Replaces `monocore.toml`.
    pub(crate) fn write(&self, toml: &str) {
        std::fs::write(self.dir.join("monocore.toml"), toml).unwrap();
    }

    /// `monocore` in the directory, to be started by the caller.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.monocore(words);
        command.current_dir(&self.dir);
        command
    }

    /// `monocore` in the directory, to its end.
    pub(crate) fn ran(&self, words: &[&str]) -> Ran {
        self.command(words).output().unwrap().into()
    }

    /// The JSON of `status`.
    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(self.ran(&["status", "--format", "json"]).out()).unwrap()
    }

    /// The status of a service's first sandbox: `running`, `exited`, …
    #[track_caller]
    pub(crate) fn status_of(&self, service: &str) -> String {
        let status = self.status();
        let row = status.as_array().unwrap().iter().find(|row| row["service"] == service);
        row.map_or_else(|| "none".to_owned(), |row| row["status"].as_str().unwrap().to_owned())
    }

    /// The id of a service's first sandbox.
    #[track_caller]
    pub(crate) fn id_of(&self, service: &str) -> String {
        let status = self.status();
        let row = status.as_array().unwrap().iter().find(|row| row["service"] == service).unwrap();
        row["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for TestProject {
    fn drop(&mut self) {
        let down = self.ran(&["down", "-v", "-t", "0"]);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "{down:?}");
            assert_eq!(self.status(), serde_json::json!([]));
        }
    }
}
