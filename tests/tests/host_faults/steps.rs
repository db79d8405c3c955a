//! The system calls of a command that concern files, and failing at one of them, by Debian's strace.

use std::collections::BTreeMap;
use std::process::Command;

use monocore_tests::world::Ran;

use crate::kept::Kept;
use crate::power;

/// The calls that open, change or lock files.
const CALLS: &str = "openat,rename,renameat,renameat2,fsync,fdatasync,mkdir,mkdirat,unlink,unlinkat,rmdir,link,linkat,symlink,\
                     symlinkat,ftruncate,write,pwrite64,fallocate,copy_file_range,flock,fcntl";

/// One call of a command: the `number`th of this name, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    call: String,
    number: usize,
    /// What strace showed of its arguments.
    arguments: String,
}

/// What the file system answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    DiskFull,
    Io,
    Quota,
}

impl Errno {
    fn name(self) -> &'static str {
        match self {
            Self::DiskFull => "ENOSPC",
            Self::Io => "EIO",
            Self::Quota => "EDQUOT",
        }
    }

    /// What a user reads of it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::DiskFull => "No space left on device",
            Self::Io => "Input/output error",
            Self::Quota => "Disk quota exceeded",
        }
    }
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed before it.
    Killed,
    /// The power is cut before it: what the process did not sync is gone.
    PowerCut,
    /// It fails.
    Error(Errno),
}

impl Fault {
    /// Whether it can happen at `step`.
    pub(crate) fn meets(self, step: &Step) -> bool {
        match self {
            Self::Killed | Self::PowerCut => true,
            Self::Error(_) => match step.call.as_str() {
                // What is written to a file, not to a terminal or a pipe.
                "write" => !step.arguments.starts_with("1<") && !step.arguments.starts_with("2<"),
                "openat" => {
                    ["O_CREAT", "O_WRONLY", "O_RDWR"].iter().any(|flag| step.arguments.contains(flag))
                }
                "flock" | "fcntl" => false,
                _ => true,
            },
        }
    }
}

/// The steps of a command, which is done.
pub(crate) fn of(kept: &Kept, command: &[&str]) -> Vec<Step> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", &format!("trace={CALLS}"), "-o", "|cat >&2"]);
    let ran: Ran = kept.command(Some(&mut strace), command).output().unwrap().into();
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    for line in ran.stderr.lines() {
        // `1234 openat(AT_FDCWD</>, "…", O_RDONLY) = 3`
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let Some(call) = call.split_whitespace().last().filter(|call| CALLS.split(',').any(|c| c == *call))
        else {
            continue;
        };
        let number = numbers.entry(call.to_owned()).or_default();
        *number += 1;
        if !arguments.contains("/dev/") && !arguments.contains("/proc/") {
            steps.push(Step { call: call.to_owned(), number: *number, arguments: arguments.to_owned() });
        }
    }
    assert!(!steps.is_empty(), "strace saw nothing: {ran:?}");
    steps
}

/// Does `command` with `fault` at `step`.
pub(crate) fn fail(kept: &Kept, command: &[&str], step: &Step, fault: Fault) -> Ran {
    let what = match fault {
        Fault::Killed | Fault::PowerCut => "signal=KILL".to_owned(),
        Fault::Error(errno) => format!("error={}", errno.name()),
    };
    let inject = format!("inject={}:{what}:when={}", step.call, step.number);
    let mut strace = Command::new("strace");
    if fault == Fault::PowerCut {
        return cut_short(kept, command, &["-e", &inject]);
    }
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={}", step.call), "-e", &inject]);
    kept.command(Some(&mut strace), command).output().unwrap().into()
}

/// Does `command` beneath strace with these words, and cuts the power then.
pub(crate) fn cut_short(kept: &Kept, command: &[&str], words: &[&str]) -> Ran {
    let before = power::lengths(kept);
    let trace = kept.home().with_extension("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={CALLS}"), "-o"])
        .arg(&trace)
        .args(words);
    let ran = kept.command(Some(&mut strace), command).output().unwrap().into();
    power::cut(&before, &std::fs::read_to_string(&trace).unwrap());
    ran
}
