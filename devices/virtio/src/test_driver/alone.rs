//! Tests that need a process of their own: they measure its CPU time or use up its descriptors.

use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Names the test that a process runs alone.
const ALONE: &str = "MONOCORE_TEST_ALONE";

/// Runs `test` in a process where no other test runs; `module` is the caller's `module_path!()`, `name` its function.
///
/// # Panics
/// When the test fails there.
pub fn alone(module: &str, name: &str, test: impl FnOnce()) {
    let path = module.split_once("::").map_or_else(|| name.to_owned(), |(_, rest)| format!("{rest}::{name}"));
    if std::env::var_os(ALONE).is_some_and(|running| running == path.as_str()) {
        return test();
    }
    let binary = std::env::current_exe().expect("the test binary");
    let ran = Command::new(binary).args(["--exact", &path, "--nocapture"]).env(ALONE, &path).output();
    let ran = ran.expect("the test binary starts");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(text.contains("1 passed"), "no test has the path {path}: {text}");
}

/// CPU time that this process spends while the calling thread sleeps for a second.
#[must_use]
pub fn cpu_in_a_second() -> Duration {
    let before = cpu();
    std::thread::sleep(Duration::from_secs(1));
    cpu() - before
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Every descriptor that this process may have, but for `spare` of them, until the value is dropped.
#[derive(Debug)]
pub struct NoDescriptors {
    limit: Rlimit,
    /// Held, not used.
    _all: Vec<std::fs::File>,
}

impl NoDescriptors {
    /// Lets the process have 256 descriptors and takes them.
    ///
    /// # Panics
    /// When the limit cannot be set.
    #[must_use]
    pub fn but(spare: usize) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let low = Rlimit { current: Some(256), maximum: limit.maximum };
        setrlimit(Resource::Nofile, low).expect("a lower limit");
        let mut all = Vec::new();
        let error = loop {
            match std::fs::File::open("/dev/null") {
                Ok(file) => all.push(file),
                Err(error) => break error,
            }
        };
        assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE));
        all.truncate(all.len().saturating_sub(spare));
        Self { limit, _all: all }
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.limit);
    }
}
