//! A sandbox that runs beside the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use monocore_tests::world::World;

/// A sandbox that is ended with this value.
pub(crate) struct Running(Child);

impl Running {
    /// `monocore run` with these arguments; returns once the sandbox has said `ready`.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = World::get().run_command(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
