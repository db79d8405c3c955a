//! A state directory with images in it, and the `monocore` binary under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use monocore_test_images::image::Layer;
use serde_json::json;

use crate::image::{self, write_archive};

/// The variable that names the binary under test.
const BINARY: &str = "MONOCORE_TEST_BINARY";
/// The image with a shell and nothing configured but its PATH.
pub const PLAIN: &str = "test/plain:latest";
/// The image with everything configured that an image can say.
pub const CONFIGURED: &str = "test/configured:latest";

/// The image that says `answer` to everyone who connects to its port 80, and exposes 53/udp, too.
pub const SERVER: &str = "test/server:latest";

/// Serves, and says `ready` once it does.
const SERVE: &str = "busybox nc -ll -p 80 -e echo answer & \
                     until busybox nc 127.0.0.1 80 </dev/null | grep -q answer; do sleep 0.1; done; echo ready; wait";

/// A state directory with the images, and a place for files.
pub struct World {
    dir: PathBuf,
}

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; 128+N where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl World {
    /// The one of this process.
    pub fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            Self::make(std::env::temp_dir().join(format!("monocore-tests-{}", std::process::id())))
        })
    }

    /// Another one, for a test whose sandboxes have names that others may mean differently.
    pub fn of_its_own(name: &str) -> &'static Self {
        Box::leak(Box::new(Self::make(Self::get().path(&format!("world-{name}")))))
    }

    fn make(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let world = Self { dir };
        let mut extra = Layer::default();
        extra.dir("data").file("data/from-image", b"original\n");
        image::program(&mut extra, "usr/bin/entry", b"#!/bin/sh\necho entry \"$@\"\nexec \"$@\"\n");
        let path = json!(["PATH=/usr/bin:/bin", "FROM_IMAGE=1"]);
        let configured = json!({
            "Env": path, "Entrypoint": ["/usr/bin/entry"], "Cmd": ["/bin/pwd"], "WorkingDir": "/var/work", "User": "app",
            "StopSignal": "SIGUSR1", "Volumes": { "/data": {} },
        });
        world.load(
            PLAIN,
            &json!({ "Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo default"] }),
            &[busybox()],
        );
        let server = json!({
            "Env": ["PATH=/bin"], "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
            "Cmd": ["sh", "-c", SERVE],
        });
        world.load(SERVER, &server, &[busybox()]);
        world.load(CONFIGURED, &configured, &[busybox(), extra]);
        world
    }

    /// Makes an image of `layers` and puts it into the store.
    pub fn load(&self, name: &str, config: &serde_json::Value, layers: &[Layer]) {
        let archive = self.dir.join(format!("{}.tar", name.replace(['/', ':'], "-")));
        write_archive(&archive, name, config, layers).expect("an archive");
        let loaded = self.monocore(["load", "-q", "-i"]).arg(&archive).output().expect("monocore starts");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        // Memory, in the testbed.
        let _ = std::fs::remove_file(archive);
    }

    /// A path of this test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The state directory.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// `monocore` with its state in this world.
    pub fn monocore<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env("MONOCORE_HOME", self.home()).stdin(Stdio::null());
        command
    }

    /// `monocore run -m 128m` with these arguments, to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.run_command(args).output().expect("monocore starts").into()
    }

    /// The same, to be started by the caller.
    pub fn run_command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.monocore(["run", "-m", "128m"]);
        command.args(args);
        command
    }

    /// `monocore run … PLAIN sh -c SCRIPT`, to its end.
    pub fn script(&self, flags: &[&str], script: &str) -> Ran {
        self.run([flags, &[PLAIN, "sh", "-c", script]].concat())
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal));
        Self { code: code.unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub fn out(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.stdout
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let path = std::env::var_os(BINARY);
    let path =
        path.unwrap_or_else(|| panic!("{BINARY} is not set: these tests are run by `cargo xtask test`"));
    Path::new(&path).to_owned()
}

fn busybox() -> Layer {
    image::busybox().expect("busybox-static")
}
