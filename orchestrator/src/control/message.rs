//! What travels on a control socket.

use std::net::Ipv4Addr;

use monocore_channel::MachineCounters;
use monocore_protocol::{ByteString, ExitStatus, Stats, Stdio, Stream, TermSize, Tool};
use monocore_spec::PublishedPort;
use serde::{Deserialize, Serialize};

use crate::JoinedGroup;
use crate::live::{LifeSettings, MachineLimits};

/// What a client asks of a sandbox's supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ControlRequest {
    /// Run one more command. Replies: [`ControlReply::Stream`] for each stream and [`ControlReply::Started`] in any
    /// order, then [`ControlReply::Exited`]; or [`ControlReply::NotStarted`].
    Exec(Box<ExecCall>),
    /// Send a signal, 1 to 64, to the command of this connection, or to the main command if none was asked for.
    Signal(u8),
    /// Give the terminal of this connection's command a new size.
    Resize(TermSize),
    /// Stop the sandbox: its stop signal, then SIGKILL. The reply is [`ControlReply::Ended`].
    Stop {
        /// The signal instead of the sandbox's own.
        signal: Option<u8>,
        /// The time from the signal to SIGKILL instead of the sandbox's own, milliseconds.
        grace_ms: Option<u64>,
    },
    /// Leave the command of this connection to itself: it goes on when the connection ends.
    Leave,
    /// Pass on what writes to the main command's standard input, if that is open: [`ControlReply::Stream`], then
    /// [`ControlReply::Done`].
    Attach,
    /// Tell when the command has ended, by [`ControlReply::Ended`], also where it is started again.
    Wait,
    /// The use of resources. The reply is [`ControlReply::Stats`].
    Stats,
    /// Pause the machine. The reply is [`ControlReply::Done`].
    Pause,
    /// Let a paused machine go on. The reply is [`ControlReply::Done`].
    Unpause,
    /// Mount what the descriptor attached leads to. The reply is [`ControlReply::Done`].
    AddMount(Box<LiveMountCall>),
    /// Unmount what was mounted there by [`Self::AddMount`]. The reply is [`ControlReply::Done`].
    RemoveMount(String),
    /// List what was mounted by [`Self::AddMount`]. The reply is [`ControlReply::Mounts`].
    Mounts,
    /// Tell when a condition holds, by [`ControlReply::Reached`]; or by [`ControlReply::Unhealthy`] or
    /// [`ControlReply::Ended`] that it does not.
    WaitFor(Condition),
    /// Give the machine a link to another member of a group; the message carries it. There is no reply: a link that is not
    /// taken is closed.
    PeerLink(PeerLink),
    /// Publish a port through the descriptor attached, a socket that is bound there. The reply is [`ControlReply::Done`].
    AddPort(PublishedPort),
    /// Close a published port. The reply is [`ControlReply::Done`].
    RemovePort(PublishedPort),
    /// Give the guest's commands other limits. The reply is [`ControlReply::Done`].
    SetLimits(MachineLimits),
    /// Follow other settings from here on. The reply is [`ControlReply::Done`].
    SetLife(Box<LifeSettings>),
    /// A member has left a group: its machine has no links any more. There is no reply.
    PeerGone(PeerLink),
    /// Be a member of a group, whose record has the sandbox already. The reply is [`ControlReply::Done`].
    JoinGroup(Box<JoinedGroup>),
    /// Be no member of a group any more. The reply is [`ControlReply::Done`].
    LeaveGroup {
        /// The project that the group is of.
        project: Option<String>,
        /// The group.
        group: String,
    },
}

/// A link between the machines of two members of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerLink {
    /// The project that the group is of.
    pub(crate) project: Option<String>,
    /// The group.
    pub(crate) group: String,
    /// The address of the member that is asked.
    pub(crate) own: Ipv4Addr,
    /// The address of the member that asks.
    pub(crate) peer: Ipv4Addr,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// The command runs, or has run.
    Started,
    /// The sandbox is healthy; without health checks, its command runs.
    Healthy,
    /// The sandbox has ended and is not started again.
    Completed,
}

/// A command to run beside the main one. What is absent is as it is for the main command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCall {
    /// Program and arguments.
    pub argv: Vec<ByteString>,
    /// `NAME=value`, over the main command's variables.
    pub env: Vec<ByteString>,
    /// The directory it starts in.
    pub workdir: Option<ByteString>,
    /// `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// What its standard streams are.
    pub stdio: Stdio,
    /// The command goes on when its client goes away, and its output is discarded.
    pub detach: bool,
    /// It has every capability, whatever the main command lacks.
    pub privileged: bool,
    /// Work of the agent's instead of a program.
    pub tool: Option<Tool>,
}

impl ExecCall {
    /// A program with its arguments and nothing else said.
    #[must_use]
    pub fn new(argv: Vec<ByteString>) -> Self {
        Self {
            argv,
            env: Vec::new(),
            workdir: None,
            user: None,
            stdio: Stdio::Null,
            detach: false,
            privileged: false,
            tool: None,
        }
    }

    /// Work of the agent's own.
    #[must_use]
    pub fn of_agent(tool: Tool) -> Self {
        Self { tool: Some(tool), ..Self::new(Vec::new()) }
    }
}

/// Why a running sandbox cannot do what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Conflict {
    /// It is paused.
    Paused,
    /// It is paused already.
    AlreadyPaused,
    /// It is not paused.
    NotPaused,
    /// It is being stopped.
    Stopping,
    /// It takes no mounts while it runs.
    FixedMounts,
    /// Nothing was mounted there while it ran.
    NoMount,
    /// No such port is published.
    NoPort,
}

/// Something that was mounted while the sandbox ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveMount {
    /// The host's path or the volume's name, to show.
    pub source: String,
    /// Where it is in the guest.
    pub target: String,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// A wish to mount something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LiveMountCall {
    /// What and where.
    pub(crate) mount: LiveMount,
    /// The source is a regular file, not a directory.
    pub(crate) is_file: bool,
    /// An empty source starts with what the image has at the target.
    pub(crate) populate: bool,
}

/// A running sandbox's use of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStats {
    /// What the guest's agent says, unless it does not answer.
    pub guest: Option<Stats>,
    /// What the machine's process says, unless it does not answer.
    pub machine: Option<MachineCounters>,
    /// Memory of this host that the machine's process uses, the guest's included, bytes.
    pub machine_memory_bytes: Option<u64>,
}

/// What a supervisor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ControlReply {
    /// The command runs.
    Started {
        /// Its process, in the guest's numbering.
        pid: u32,
    },
    /// A stream of the command; the message carries its connection.
    Stream(Stream),
    /// The command ended.
    Exited(ExitStatus),
    /// The command could not be started, or its guest was lost.
    NotStarted {
        /// What a shell would report: 127 not found, 126 not executable, 137 the guest was lost, 125 otherwise.
        code: u8,
        /// Why.
        message: String,
    },
    /// The sandbox has ended.
    Ended {
        /// Its exit code.
        code: u8,
    },
    /// The use of resources.
    Stats(Box<SandboxStats>),
    /// It is done.
    Done,
    /// It cannot be done.
    Refused(String),
    /// It cannot be done as the sandbox is.
    Conflict(Conflict),
    /// What was mounted while the sandbox ran.
    Mounts(Vec<LiveMount>),
    /// The condition holds.
    Reached,
    /// The sandbox is unhealthy.
    Unhealthy,
}
