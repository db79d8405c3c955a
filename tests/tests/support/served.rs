//! A device of `monocore vhost-user`, jailed as users have it.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use monocore_tests::world::binary;

/// Emulation on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A device's process, ended when the test is.
pub(crate) struct Served(Child);

impl Served {
    /// Serves a device at `socket`, as `uid` and its group where one is named.
    ///
    /// # Panics
    /// Where the device is not there in time.
    pub(crate) fn start(socket: &Path, uid: Option<u32>, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("vhost-user").args(arguments).arg("--socket").arg(socket).stdin(Stdio::null());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut served = Self(command.spawn().expect("monocore starts"));
        let end = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < end, "no socket at {}", socket.display());
            served.assert_running();
            thread::sleep(Duration::from_millis(20));
        }
        served
    }

    /// # Panics
    /// Where the process has ended, for instance by its jail.
    pub(crate) fn assert_running(&mut self) {
        let ended = self.0.try_wait().expect("a child");
        assert!(ended.is_none(), "the device's process ended: {ended:?}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
