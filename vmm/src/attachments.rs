//! What a machine needs beside its specification: closures and policies of the process it runs in.

use std::sync::Arc;

use monocore_spec::DeviceSpec;
use monocore_virtio::ThreadSetup;
use monocore_vsock::Backend as VsockConnections;

/// What a thread of a machine does, as far as the system calls it needs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThreadKind {
    /// Runs the guest.
    Vcpu,
    /// Serves a socket device.
    Vsock,
    /// Serves a disk.
    Block,
    /// Serves shared directories.
    Fs,
    /// Serves a console.
    Console,
    /// Serves random numbers.
    Rng,
}

impl ThreadKind {
    /// The kind of a device's threads.
    pub fn of(device: &DeviceSpec) -> Self {
        match device {
            DeviceSpec::Vsock(_) => Self::Vsock,
            DeviceSpec::Block(_) => Self::Block,
            DeviceSpec::Fs(_) => Self::Fs,
            DeviceSpec::Console(_) => Self::Console,
            DeviceSpec::Rng => Self::Rng,
        }
    }

    /// A short name for logs, errors and threads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcpu => "vcpu",
            Self::Vsock => "vsock",
            Self::Block => "block",
            Self::Fs => "fs",
            Self::Console => "console",
            Self::Rng => "rng",
        }
    }
}

/// Confines a machine's threads.
pub trait Confinement: Send + Sync {
    /// What a thread of this kind calls first; a failure keeps it from running.
    fn thread_setup(&self, kind: ThreadKind) -> ThreadSetup;

    /// Whether devices must start on the thread that waits for the machine's end, because a thread that a vCPU's thread
    /// started would inherit what confines that one. Somebody must then wait all the time.
    fn starts_on_waiting_thread(&self) -> bool {
        false
    }
}

/// No confinement: a machine inside a process of the embedder's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unconfined;

impl Confinement for Unconfined {
    fn thread_setup(&self, _kind: ThreadKind) -> ThreadSetup {
        Arc::new(|| Ok(()))
    }
}

/// What a machine needs beside its specification.
pub struct Attachments {
    /// Confines every thread the machine starts.
    pub confinement: Arc<dyn Confinement>,
    /// Where the socket device's connections lead, if its specification says
    /// [`VsockBackend::Attached`](monocore_spec::VsockBackend::Attached).
    pub vsock: Option<Box<dyn VsockConnections>>,
}

impl Default for Attachments {
    fn default() -> Self {
        Self { confinement: Arc::new(Unconfined), vsock: None }
    }
}
