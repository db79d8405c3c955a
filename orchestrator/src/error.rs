//! What can go wrong around a sandbox.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use monocore_spec::PublishedPort;

/// A failure of the orchestrator; its text says what failed, on which input, and what to do where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A description that no sandbox can be made of.
    #[error("the sandbox's description: {0}")]
    Spec(#[from] crate::spec::ParseError),
    /// There is no place for monocore's state.
    #[error("no home directory: set MONOCORE_HOME to a directory for monocore's state")]
    NoHome,
    /// A file or directory could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: "open", "create", …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret has no value.
    #[error("secret {name}: {problem}")]
    Secret {
        /// The secret.
        name: String,
        /// Its source, and what is wrong with it.
        problem: String,
    },
    /// The secrets cannot be given to a guest.
    #[error("{0}")]
    Secrets(String),
    /// A port cannot be published.
    #[error("cannot publish port {}/{} at {}: {source}{}", port.guest_port, port.protocol.name(),
        SocketAddr::new(port.address, port.host_port), publish_hint(source))]
    Publish {
        /// The port.
        port: PublishedPort,
        /// What the system said.
        source: io::Error,
    },
    /// An image names more ports than are published without being asked for one by one.
    #[error("the image exposes more than {most} ports: publish those you need one by one")]
    ManyPorts {
        /// How many are.
        most: usize,
    },
    /// No sandbox has the name or id.
    #[error("no such sandbox: {0}")]
    NoSandbox(String),
    /// A sandbox that is removed when it ends cannot be started again.
    #[error("conflicting options: a sandbox is removed when it ends, or started again")]
    RemovedAndRestarted,
    /// The sandbox does not run.
    #[error("sandbox {0} is not running: start it with `monocore start {0}`")]
    NotRunning(String),
    /// The sandbox runs already.
    #[error("sandbox {0} is running already")]
    AlreadyRunning(String),
    /// The sandbox is paused, and what was asked needs one that runs.
    #[error("sandbox {name} is paused, unpause the sandbox before {before}")]
    Paused {
        /// The sandbox.
        name: String,
        /// What was asked: `exec`, `mount`.
        before: &'static str,
    },
    /// The sandbox is paused already.
    #[error("sandbox {0} is already paused")]
    AlreadyPaused(String),
    /// The sandbox is not paused.
    #[error("sandbox {0} is not paused")]
    NotPaused(String),
    /// The sandbox takes no mounts while it runs.
    #[error("sandbox {0} was started without --live-mounts: it takes no mounts while it runs")]
    FixedMounts(String),
    /// Nothing was mounted there while the sandbox ran.
    #[error("sandbox {name} has nothing at {target} that was mounted while it runs")]
    NoMount {
        /// The sandbox.
        name: String,
        /// Where.
        target: String,
    },
    /// A running sandbox could not mount or unmount something.
    #[error("{0}")]
    MountFailed(String),
    /// It cannot be mounted in a sandbox that runs.
    #[error("{0}: only directories, regular files and named volumes can be mounted in a sandbox that runs")]
    NotLive(String),
    /// The sandbox is being stopped.
    #[error("sandbox {0} is being stopped")]
    Stopping(String),
    /// The sandbox runs, and what was asked needs one that does not.
    #[error("sandbox {0} is running: stop it first, or use --force")]
    StillRunning(String),
    /// A record below the state directory is not what this version writes.
    #[error("{}: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A running sandbox's control socket failed or gave a wrong answer.
    #[error("control socket of sandbox {name}: {problem}")]
    Control {
        /// The sandbox.
        name: String,
        /// What happened.
        problem: String,
    },
    /// The sandbox could not be started; the text is what its supervisor said.
    #[error("{message}")]
    NotStarted {
        /// What a shell would report: 127 not found, 126 not executable, 125 otherwise.
        code: u8,
        /// Why.
        message: String,
    },
    /// No volume has the name.
    #[error("no such volume: {0}")]
    NoVolume(String),
    /// Sandboxes use the volume.
    #[error("remove {name}: volume is in use - [{users}]")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The sandboxes' ids.
        users: String,
    },
    /// Files could not be copied; the text is either side's.
    #[error("{0}")]
    Copy(String),
    /// It has no network, or not monocore's.
    #[error("sandbox {0} has no receipts: they are written with the networks nat and tsi only")]
    NoReceipts(String),
    /// Several have an id that begins like this.
    #[error("{0:?} is the beginning of several sandboxes' ids: give more of it")]
    Ambiguous(String),
    /// Another sandbox has the name.
    #[error("the name {name:?} is taken by sandbox {id}: choose another one or end that sandbox")]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// No group has the name.
    #[error("no such group: {0}")]
    NoGroup(String),
    /// A group cannot be made, changed or joined.
    #[error("group {name}: {problem}")]
    Group {
        /// The group.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A mount's source is missing or of a kind that cannot be shared.
    #[error("cannot mount {}: {problem}", path.display())]
    Mount {
        /// The source.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What was named as a root is a file.
    #[error("{} is no directory: a root file system is one", .0.display())]
    NoDirectory(PathBuf),
    /// The embedded guest cannot be unpacked.
    #[error(transparent)]
    Guest(#[from] monocore_guest::Error),
    /// The virtual machine's process could not be started.
    #[error("cannot start the virtual machine's process: {0}")]
    Spawn(#[source] io::Error),
    /// The virtual machine failed.
    #[error("the virtual machine failed: {0}")]
    Machine(String),
    /// The session with the guest's agent failed.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),
    /// The image store failed.
    #[error(transparent)]
    Image(monocore_oci::Error),
    /// An image is larger than the bound.
    #[error("{0}; if you trust it, set MONOCORE_IMAGE_LIMIT to a larger size, such as 256G")]
    ImageTooLarge(monocore_oci::Error),
    /// The image is not in the store, and its registry must not be asked.
    #[error("image {0} is not in the store, and --pull never forbids fetching it")]
    NotStored(String),
    /// The image in the store is for another platform, and its registry must not be asked.
    #[error("image {reference} in the store is for {platform}, not for what --platform says")]
    OtherPlatform {
        /// The image as the user wrote it.
        reference: String,
        /// The platform of the image in the store.
        platform: String,
    },
    /// The image in the store is for another platform, and the one that is wanted cannot be fetched.
    #[error(
        "image {reference} in the store is for {platform}, not for what --platform says, and the other one cannot be \
         fetched: {source}"
    )]
    NotFetched {
        /// The image as the user wrote it.
        reference: String,
        /// The platform of the image in the store.
        platform: String,
        /// Why it cannot be fetched.
        source: Box<Error>,
    },
    /// A platform cannot be read.
    #[error("platform {text:?}: {problem}")]
    Platform {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An environment variable of monocore's has a value that cannot be used.
    #[error("{name}: {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// Threads for network and conversion cannot be started.
    #[error("cannot start the threads for network and conversion: {0}")]
    Runtime(#[source] io::Error),
    /// This machine cannot run sandboxes.
    #[error("this machine cannot run sandboxes: {0}")]
    Host(String),
    /// A service of a project could not be brought up.
    #[error("service {service}: {problem}")]
    Service {
        /// The service.
        service: String,
        /// What happened.
        problem: String,
    },
    /// A service was not started, because one that it needs is not ready.
    #[error("service {service} was not started: it needs {needed}: {problem}")]
    NeededService {
        /// The service that was not started.
        service: String,
        /// The service that it needs.
        needed: String,
        /// Why that is not ready.
        problem: String,
    },
    /// A project has no such service.
    #[error("project {project} has no service {service}")]
    NoService {
        /// The project.
        project: String,
        /// The service.
        service: String,
    },
    /// Files of this host cannot be followed.
    #[error("cannot watch {}: {problem}", path.display())]
    Watch {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// A sandbox that runs cannot publish a port.
    #[error("publishing port {}/{}: {problem}", port.guest_port, port.protocol.name())]
    PortFailed {
        /// The port.
        port: PublishedPort,
        /// Why.
        problem: String,
    },
    /// A sandbox does not publish this port.
    #[error("sandbox {name} publishes nothing at {}:{}/{}", port.address, port.host_port, port.protocol.name())]
    NoPort {
        /// The sandbox's name.
        name: String,
        /// The port.
        port: PublishedPort,
    },
    /// A service has several sandboxes where one is needed.
    #[error("service {service} has several sandboxes: name one of {names}")]
    Replicas {
        /// The service.
        service: String,
        /// The names of its sandboxes.
        names: String,
    },
    /// A group that a project does not make itself is not there.
    #[error("there is no group {0}: make it with `monocore network create {0}`")]
    NoExternalGroup(String),
    /// A project's configuration has faults.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigErrors),
    /// A project's name is not possible.
    #[error("project name {0}")]
    ProjectName(String),
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The command has nothing to run.
    #[error("no command: the image names none, give one after the image")]
    NoCommand,
}

/// What helps against the usual reasons.
fn publish_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; end what has it, choose another port, or 0 for a free one",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for privileged users",
        _ => "",
    }
}

impl From<monocore_oci::Error> for Error {
    fn from(error: monocore_oci::Error) -> Self {
        match error {
            monocore_oci::Error::TooLarge { .. } => Self::ImageTooLarge(error),
            error => Self::Image(error),
        }
    }
}

impl Error {
    /// Whether the failure follows from another one.
    pub(crate) fn is_consequence(&self) -> bool {
        matches!(self, Self::NeededService { .. } | Self::Cancelled)
    }

    /// For `map_err`: names the action and the path of an I/O error.
    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.as_ref().to_owned(), source }
    }
}
