//! A reader of a guide that runs sandboxes: each line of its blocks and its tables, in the order of the page.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use monocore_tests::typist::Typist;
use monocore_tests::wait::eventually;
use monocore_tests::world::{World, binary};
use rustix::process::{Pid, Signal, kill_process};

/// What is special about a line that begins so.
pub(crate) enum Way {
    /// Needs this to have been run.
    After(&'static str),
    /// Ends with this code.
    Code(i32),
    /// Goes on until its reader has seen something, and types Ctrl-C.
    Endless,
    /// Needs a terminal, where this is typed once a prompt or anything else is there; ends with this code.
    Typed(&'static str, i32),
    /// Goes on while the next line runs, which succeeds once this one is ready.
    Beside,
}

/// The lines of a page that a reader would run: those of its blocks after `$ `, and those of its tables.
pub(crate) fn lines(page: &str) -> Vec<String> {
    let (mut is_console, mut found) = (false, Vec::new());
    for line in page.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            found.push(command.split("  #").next().unwrap_or_default().trim().to_owned());
        } else if line.starts_with('|') {
            let codes = line.split('`').skip(1).step_by(2).filter(|code| code.contains("monocore "));
            found.extend(codes.map(|code| code.replace("\\|", "|")));
        }
    }
    found
}

pub(crate) struct Reader {
    world: &'static World,
    dir: PathBuf,
    beside: Option<Child>,
}

impl Reader {
    pub(crate) fn new(world: &'static World) -> Self {
        let dir = world.path("desk");
        for part in ["bin", "home", "src", "site"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        symlink(binary(), dir.join("bin/monocore")).unwrap();
        for name in ["src/x.py", "site/page", "script.py", "x", "app.toml"] {
            std::fs::write(dir.join(name), "").unwrap();
        }
        Self { world, dir, beside: None }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn sh(&self, line: &str) -> Command {
        let own = ["bin", "home/.local/bin"].map(|part| self.dir.join(part).display().to_string());
        let path = format!("{}:{}", own.join(":"), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.dir).stdin(Stdio::null());
        shell.env("PATH", path).env("HOME", self.dir.join("home")).env("MONOCORE_HOME", self.world.home());
        shell.env("SSH_AUTH_SOCK", self.dir.join("agent.sock"));
        shell
    }

    /// Runs `line` to its end, which must be with `code`.
    #[track_caller]
    fn ends(&self, line: &str, code: i32) {
        let ran = self.sh(line).output().unwrap();
        assert_eq!(ran.status.code(), Some(code), "{line}: {}", text(&ran));
    }

    /// Follows a page; `ways` is what is special about its lines, and each of them is.
    pub(crate) fn follow(&mut self, page: &str, least: usize, ways: &[(&str, Way)]) {
        let all = lines(page);
        assert!(all.len() >= least, "only {} lines", all.len());
        for (start, _) in ways {
            assert!(all.iter().any(|line| line.starts_with(start)), "no line begins with {start}");
        }
        for line in &all {
            eprintln!("$ {line}");
            let own = || ways.iter().filter(|(start, _)| line.starts_with(start)).map(|(_, way)| way);
            for way in own() {
                if let Way::After(before) = way {
                    self.ends(before, 0);
                }
            }
            let beside = self.beside.take();
            match own().find(|way| !matches!(way, Way::After(_))) {
                None if beside.is_some() => {
                    eventually("what runs beside it is ready", || {
                        self.sh(line).output().unwrap().status.success()
                    });
                }
                None | Some(Way::After(_)) => self.ends(line, 0),
                Some(Way::Code(code)) => self.ends(line, *code),
                Some(Way::Endless) => self.interrupt(line),
                Some(Way::Typed(typed, code)) => self.type_in(line, typed, *code),
                Some(Way::Beside) => self.beside = Some(self.begin(line)),
            }
            beside.into_iter().for_each(end);
        }
    }

    /// Starts a line; a signal to it must not stop at the shell.
    fn begin(&self, line: &str) -> Child {
        self.sh(&format!("exec {line}")).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn interrupt(&self, line: &str) {
        let mut child = self.begin(line);
        let mut first = [0];
        let count = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        assert_eq!(count, 1, "{line} says nothing");
        end(child);
    }

    #[track_caller]
    fn type_in(&self, line: &str, typed: &str, code: i32) {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let mut typist = Typist::start_in(self.world, 24, 80, &words);
        typist.wait_for(if typed.starts_with('\u{10}') { "tick" } else { "#" });
        typist.type_in(typed);
        eventually("what was typed ends it", || typist.child.try_wait().unwrap().is_some());
        assert_eq!(typist.end(), code, "{line}: {}", typist.seen);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.beside.take().into_iter().for_each(end);
        let _ = self.sh("monocore rm -f --all").output();
    }
}

fn end(mut child: Child) {
    // It may have ended.
    let _ = kill_process(Pid::from_child(&child), Signal::INT);
    child.wait().unwrap();
}

fn text(ran: &Output) -> String {
    format!("{} {}{}", ran.status, String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
