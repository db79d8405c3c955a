//! A guest inside this very process: a directory as its root, one command, its exit status.
//!
//! ```no_run
//! let vm = monocore::vm::MicroVm::builder()
//!     .root_path("/path/to/rootfs") // a directory, served by virtio-fs
//!     .ram_mib(512)
//!     .exec_path("/bin/true")
//!     .build()?;
//! let status = vm.start()?; // blocks until the command ends
//! # Ok::<(), monocore::vm::Error>(())
//! ```
//!
//! Nothing else of monocore has to be installed: kernel and init are inside this library and are unpacked once below
//! the state directory. The machine's threads are confined only as far as the embedding program is; `monocore run`
//! jails them in a process of their own.

mod builder;

use std::time::Duration;

use monocore_orchestrator::session::{Handoff, Session, SessionError, Streams};
use monocore_orchestrator::spec::{RootSource, SandboxSpec};
use monocore_orchestrator::{Home, NetworkRecord, Plan, Published, RootFiles, RunDir, RunRecord};
use monocore_vmm::{Builder as MachineBuilder, HostHypervisor, Running};

pub use builder::MicroVmBuilder;
pub use monocore_orchestrator::session::{Input, Output};
pub use monocore_protocol::ExitStatus;
pub use monocore_spec::{Sink, VmExit};

/// How long a machine whose agent fell silent may take to end by itself.
const END_GRACE: Duration = Duration::from_secs(5);

/// Why a guest could not be described or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something every guest needs was not named.
    #[error("{0} is missing: call {1} of the builder")]
    Missing(&'static str, &'static str),
    /// A value is not possible.
    #[error("{0}")]
    Value(#[from] monocore_orchestrator::spec::ParseError),
    /// Its files or state directory cannot be used.
    #[error(transparent)]
    Sandbox(#[from] monocore_orchestrator::Error),
    /// The machine cannot be built or started.
    #[error(transparent)]
    Machine(#[from] monocore_vmm::Error),
    /// The command could not be started: `code` is 127 where it was not found, 126 where it is not executable.
    #[error("{message}")]
    NotStarted {
        /// What a shell would report.
        code: u8,
        /// Why.
        message: String,
    },
    /// The session with the guest's agent failed.
    #[error(transparent)]
    Session(SessionError),
    /// The machine ended before its command did.
    #[error("the machine ended before its command did: {0:?}")]
    Ended(VmExit),
}

/// A guest that is described and has not run yet.
#[derive(Debug)]
pub struct MicroVm {
    home: Home,
    spec: SandboxSpec,
    streams: Streams,
    console: Sink,
}

impl MicroVm {
    /// Begins a description.
    #[must_use]
    pub fn builder() -> MicroVmBuilder {
        MicroVmBuilder::default()
    }

    /// Boots the guest, runs its command and ends the guest with it; blocks all the while.
    ///
    /// # Errors
    /// The host cannot run machines, a file is missing, the command cannot be started, the guest crashed.
    pub fn start(self) -> Result<ExitStatus, Error> {
        let RootSource::Directory(root) = &self.spec.root.source else {
            return Err(Error::Missing("a root directory", "root_path"));
        };
        let name = root.display().to_string();
        let published = Published::bind(&self.spec.network, &[])?;
        let run = RunRecord {
            root: name,
            network: NetworkRecord::new(&self.spec.network, &published),
            labels: self.spec.labels.clone(),
            ..RunRecord::default()
        };
        let run_dir = RunDir::claim(&self.home, self.spec.name.as_deref(), run)?;
        let mut plan = Plan::make(&self.home, &run_dir, &self.spec, &RootFiles::Directory(root), published)?;
        if self.console != Sink::Discard {
            plan.vm.serial = self.console;
            plan.vm.kernel.command_line.push_str(" console=ttyS0");
        }
        let machine = MachineBuilder::from_spec(plan.vm).build()?.start()?;
        // The machine has descriptors of its own; ours would keep its ends of sockets open.
        drop(plan.files);
        let session = Session::start(Handoff::new(plan.handoff), plan.configure).map_err(Error::Session)?;
        session.connect_sockets(plan.sockets, &[]).map_err(Error::Session)?;
        let process = session.exec(plan.exec, self.streams).map_err(Error::Session)?;
        match process.wait() {
            Ok(status) => Ok(status),
            Err(SessionError::Exec { code, message }) => Err(Error::NotStarted { code, message }),
            Err(SessionError::Lost) => Err(Error::Ended(end(machine))),
            Err(error) => Err(Error::Session(error)),
        }
    }
}

/// Why the machine ended; one that does not end by itself is ended.
fn end(machine: Running<HostHypervisor>) -> VmExit {
    let handle = machine.handle();
    let (ended, waiting) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waiting.recv_timeout(END_GRACE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            handle.kill();
        }
    });
    let exit = machine.wait();
    drop(ended);
    // It does nothing that can panic.
    let _ = watchdog.join();
    exit
}
