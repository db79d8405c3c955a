//! What a machine needs beside its specification: closures and policies of the process it runs in.

use std::sync::Arc;

use monocore_fs::FsHandle;
use monocore_spec::{DeviceSpec, NetSpec};
use monocore_virtio::ThreadSetup;
use monocore_vsock::Backend as VsockConnections;

use crate::devices::Starter;

/// What a thread of a machine does, as far as the system calls it needs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThreadKind {
    /// Runs the guest.
    Vcpu,
    /// Serves a socket device.
    Vsock,
    /// Serves a socket device that carries the guest's own sockets.
    Tsi,
    /// Serves a disk.
    Block,
    /// Serves shared directories.
    Fs,
    /// Serves a console.
    Console,
    /// Serves random numbers.
    Rng,
    /// Gives freed memory back to the host.
    Balloon,
    /// Serves a network card with a user-mode stack behind it.
    Nat,
    /// Serves a network card with a tap interface behind it.
    Tap,
    /// Serves a network card with a stream socket behind it.
    Passt,
}

impl ThreadKind {
    /// The kind of a device's threads.
    pub fn of(device: &DeviceSpec) -> Self {
        match device {
            DeviceSpec::Vsock(vsock) if vsock.carries.is_some() => Self::Tsi,
            DeviceSpec::Vsock(_) => Self::Vsock,
            DeviceSpec::Block(_) => Self::Block,
            DeviceSpec::Fs(_) => Self::Fs,
            DeviceSpec::Console(_) => Self::Console,
            DeviceSpec::Rng => Self::Rng,
            DeviceSpec::Balloon => Self::Balloon,
            DeviceSpec::Net(NetSpec::Nat(_)) => Self::Nat,
            DeviceSpec::Net(NetSpec::Tap(_)) => Self::Tap,
            DeviceSpec::Net(NetSpec::Passt(_)) => Self::Passt,
        }
    }

    /// A short name for logs, errors and threads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcpu => "vcpu",
            Self::Vsock => "vsock",
            Self::Tsi => "tsi",
            Self::Block => "block",
            Self::Fs => "fs",
            Self::Console => "console",
            Self::Rng => "rng",
            Self::Balloon => "balloon",
            Self::Nat => "nat",
            Self::Tap => "tap",
            Self::Passt => "passt",
        }
    }
}

/// Where a device's threads may be started: a thread inherits what confines the one that started it.
pub enum StartsOn {
    /// Anywhere, also on a vCPU's thread.
    AnyThread,
    /// On the thread that waits for the machine's end. Somebody must then wait all the time.
    WaitingThread,
    /// On a thread kept for it. What confines the device's own thread is then made anew at each start.
    KeptThread(Starter),
}

/// Confines a machine's threads.
pub trait Confinement: Send + Sync {
    /// What a thread of this kind calls first; a failure keeps it from running.
    fn thread_setup(&self, kind: ThreadKind) -> ThreadSetup;

    /// The same for the thread that serves `shares`.
    fn fs_setup(&self, _shares: &FsHandle) -> ThreadSetup {
        self.thread_setup(ThreadKind::Fs)
    }

    /// Where a device whose threads are of this kind is started.
    fn starts_on(&self, _kind: ThreadKind) -> StartsOn {
        StartsOn::AnyThread
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
