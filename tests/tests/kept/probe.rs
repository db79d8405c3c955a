//! Processes in two sandboxes and on this machine that share a folder.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use monocore_tests::world::World;

use crate::support::Background;

const PROGRAM: &str = env!("CARGO_BIN_EXE_share-probe");
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two sandboxes that share a folder with this machine, and processes in all three.
pub(crate) struct Sharers {
    pub(crate) folder: PathBuf,
    names: [&'static str; 2],
    _sandboxes: [Background; 2],
    /// By the letter of their place and a number: `A1`, `B2`, `H1`.
    probes: HashMap<String, Probe>,
}

impl Sharers {
    /// Sandboxes of these names, and a folder named like the first.
    pub(crate) fn new(names: [&'static str; 2]) -> Self {
        let folder = World::get().path(names[0]);
        std::fs::create_dir_all(&folder).unwrap();
        let programs = Path::new(PROGRAM).parent().unwrap().display();
        let mounts = [
            format!("{}:/s", folder.display()),
            "/lib/x86_64-linux-gnu:/dev/libraries:ro".into(),
            format!("{programs}:/dev/programs:ro"),
        ];
        let flags: Vec<&str> = mounts.iter().flat_map(|mount| ["-v", mount]).collect();
        let start = |name| Background::run(name, &flags, "exec sleep 100000");
        Self { folder, names, _sandboxes: names.map(start), probes: HashMap::new() }
    }

    /// The process of this name, which is started if there is none.
    pub(crate) fn probe(&mut self, name: &str) -> &mut Probe {
        let (names, folder) = (self.names, self.folder.clone());
        self.probes.entry(name.to_owned()).or_insert_with(|| match &name[..1] {
            "A" => Probe::in_guest(names[0]),
            "B" => Probe::in_guest(names[1]),
            "H" => Probe::start(Command::new(PROGRAM).arg(folder)),
            _ => panic!("{name} is nowhere"),
        })
    }

    /// Ends the process of this name as a kill does: it closes nothing itself.
    pub(crate) fn kill(&mut self, name: &str) {
        if let Some(probe) = self.probes.remove(name) {
            probe.end();
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.probes.keys().cloned().collect()
    }
}

/// One process.
pub(crate) struct Probe {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    /// Its number where it runs.
    pub(crate) pid: String,
    /// Answers that are not there yet.
    pub(crate) owed: usize,
}

impl Probe {
    fn in_guest(name: &str) -> Self {
        let program = "/dev/programs/share-probe";
        let loader = "/dev/libraries/ld-linux-x86-64.so.2";
        let command = ["exec", "-i", name, loader, "--library-path", "/dev/libraries", program, "/s"];
        Self::start(&mut World::get().monocore(command))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut probe = Self { child, input, answers, pid: String::new(), owed: 0 };
        probe.pid = probe.ask("pid");
        probe
    }

    pub(crate) fn say(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
        self.owed += 1;
    }

    pub(crate) fn hear(&mut self) -> String {
        self.owed -= 1;
        self.answers.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.say(command);
        self.hear()
    }

    /// Whether nothing was answered yet.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.answers.try_recv(), Err(TryRecvError::Empty))
    }

    fn end(mut self) {
        // The end of the input is the end of the process, and `exec` waits for that.
        drop(self.input);
        if self.owed > 0 {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Sharers {
    fn drop(&mut self) {
        self.probes.drain().for_each(|(_, probe)| probe.end());
    }
}
