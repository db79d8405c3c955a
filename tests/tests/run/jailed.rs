//! The jail of a sandbox's process, seen from outside while it runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use monocore_tests::world::{PLAIN, World};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A sandbox whose standard error is a terminal, open for reading and writing as a shell's is.
struct Sandbox {
    child: Child,
    machine: PathBuf,
    terminal: PathBuf,
    /// The terminal's other end: without it, the terminal is gone.
    _keyboard: OwnedFd,
}

impl Sandbox {
    fn start(flags: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let open = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(&*name, open, Mode::empty()).unwrap();
        let words = [flags, &[PLAIN, "sh", "-c", "echo ready; exec sleep 100"]].concat();
        let mut command = World::get().run_command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(terminal).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{flags:?}");
        let machine = children(&PathBuf::from(format!("/proc/{}", child.id())));
        let machine = PathBuf::from(format!("/proc/{}", machine.trim()));
        Self { child, machine, terminal: name.to_str().unwrap().into(), _keyboard: keyboard }
    }

    /// The machine's descriptors of the terminal, each with its flags.
    fn terminal_flags(&self) -> Vec<u32> {
        let of = |entry: fs::DirEntry| {
            let info = self.machine.join("fdinfo").join(entry.file_name());
            let leads_there = fs::read_link(entry.path()).is_ok_and(|path| path == self.terminal);
            leads_there.then(|| octal(&value(&info, "flags:")))
        };
        fs::read_dir(self.machine.join("fd")).unwrap().flatten().filter_map(of).collect()
    }

    /// What the status of each thread says.
    fn threads(&self, name: &str) -> Vec<String> {
        let tasks = fs::read_dir(self.machine.join("task")).unwrap().flatten();
        tasks.map(|task| value(&task.path().join("status"), name)).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that the main thread of `process` started.
fn children(process: &Path) -> String {
    let number = process.file_name().unwrap().to_str().unwrap();
    fs::read_to_string(process.join("task").join(number).join("children")).unwrap()
}

/// What stands behind `name` in a file of lines.
fn value(path: &Path, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).unwrap()
}

#[test]
fn every_thread_is_confined_and_none_can_read_the_terminal() {
    let share = World::get().path("jailed-share");
    fs::create_dir_all(&share).unwrap();
    let volume = format!("{}:/share:ro", share.display());
    for flags in [
        &["--no-net"][..],
        &["--network", "nat", "--jail", "best-effort"],
        &["--network", "tsi", "--jail", "strict"],
        &["-v", &volume],
    ] {
        let sandbox = Sandbox::start(flags);
        let terminal = sandbox.terminal_flags();
        assert!(!terminal.is_empty(), "{flags:?}: it tells nobody what goes wrong");
        assert!(terminal.iter().all(|flags| flags & 3 == 1), "{flags:?}: {terminal:?}");
        let input = fs::read_link(sandbox.machine.join("fd/0")).unwrap();
        assert_eq!(input, Path::new("/dev/null"), "{flags:?}");
        let threads = sandbox.threads("Seccomp:");
        assert!(threads.len() > 3 && threads.iter().all(|mode| mode == "2"), "{flags:?}: {threads:?}");
        assert!(sandbox.threads("NoNewPrivs:").iter().all(|set| set == "1"), "{flags:?}");
        // A file server of root's has six capabilities, and never CAP_SYS_ADMIN.
        let shares = flags.contains(&"-v");
        for capabilities in sandbox.threads("CapPrm:") {
            let set = u64::from_str_radix(&capabilities, 16).unwrap();
            assert!(if shares { set.count_ones() <= 6 && set >> 21 & 1 == 0 } else { set == 0 }, "{set:x}");
        }
        assert_eq!(children(&sandbox.machine), "", "{flags:?}");
    }
}
