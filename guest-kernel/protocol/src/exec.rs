//! A command in the guest, from its description to its exit status.

use serde::{Deserialize, Serialize};

use crate::{ByteString, Tool};

/// Names a command; chosen by the host, never used twice in a guest's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecId(pub u32);

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Its name from here on.
    pub id: ExecId,
    /// Whether the guest lives for it.
    pub purpose: Purpose,
    /// Program and arguments. A program without a `/` is looked up in the command's own `PATH`.
    pub argv: Vec<ByteString>,
    /// `NAME=value`. What is missing of PATH, HOSTNAME, HOME and (on a terminal) TERM is added as Docker does.
    pub env: Vec<ByteString>,
    /// Working directory, made for a main command when missing; empty is `/`.
    pub cwd: ByteString,
    /// Who runs it: empty (root), or a name or number of a user, then perhaps `:` and one of a group, resolved in
    /// the guest's `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// What its standard streams are.
    pub stdio: Stdio,
    /// Limits other than the defaults.
    pub rlimits: Vec<Rlimit>,
    /// Groups beside those of the user, by name or number.
    pub groups: Vec<String>,
    /// The only capabilities it may ever have, a bit for each number; all without it.
    pub capabilities: Option<u64>,
    /// No program it starts gives it more rights.
    pub no_new_privileges: bool,
    /// A main command is process 1 of the commands' PID namespace; else an init of the agent's is, which reaps orphans.
    pub is_init: bool,
    /// Work of the agent's instead of a program: `argv` and `user` mean nothing then.
    pub tool: Option<Tool>,
}

impl Exec {
    /// A main command as root in `/`, standard input closed.
    pub fn new<A: Into<ByteString>>(id: ExecId, argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            id,
            purpose: Purpose::Main,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: ByteString::default(),
            user: String::new(),
            stdio: Stdio::Pipes { stdin: Stdin::Empty },
            rlimits: Vec::new(),
            groups: Vec::new(),
            capabilities: None,
            no_new_privileges: false,
            is_init: false,
            tool: None,
        }
    }
}

/// What a command is to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The guest lives for it: when it ends, every other process is killed.
    Main,
    /// One beside the main one; what it leaves behind goes on.
    Extra,
}

/// What a command's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Pipes, one stream connection each.
    Pipes {
        /// What it reads.
        stdin: Stdin,
    },
    /// One pseudo-terminal for all three, one stream connection both ways.
    Terminal(TermSize),
    /// `/dev/null` for all three, no stream connection.
    Null,
}

/// What a command without a terminal reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    Empty,
    /// A stream from the host.
    Stream,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A limit on a resource; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Of what.
    pub resource: Resource,
    /// What counts now.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

/// What is limited, named as `setrlimit(2)` and Docker's `--ulimit` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are setrlimit(2)'s")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// The resource of that name: `nofile`, `core`, …
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "as" => Self::As,
            "core" => Self::Core,
            "cpu" => Self::Cpu,
            "data" => Self::Data,
            "fsize" => Self::Fsize,
            "locks" => Self::Locks,
            "memlock" => Self::Memlock,
            "msgqueue" => Self::Msgqueue,
            "nice" => Self::Nice,
            "nofile" => Self::Nofile,
            "nproc" => Self::Nproc,
            "rss" => Self::Rss,
            "rtprio" => Self::Rtprio,
            "rttime" => Self::Rttime,
            "sigpending" => Self::Sigpending,
            "stack" => Self::Stack,
            _ => return None,
        })
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
}

impl ExitStatus {
    /// What a shell reports: the code, or 128 plus the signal's number.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}
