//! A vCPU's thread.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use monocore_hypervisor::{BindVcpu, Vcpu, VcpuExit, VcpuHandle, VcpuStart};
use monocore_spec::VmExit;
use monocore_virtio::ThreadSetup;

use super::handle::Control;
use crate::Error;
use crate::bus::Bus;
use crate::outcome::Outcome;

/// The loop and what devices do on it need little; a debug build needs more than a release.
const STACK_BYTES: usize = 256 << 10;

/// What every vCPU thread shares.
pub(super) struct Shared {
    pub(super) bus: Arc<Bus>,
    pub(super) outcome: Arc<Outcome>,
    pub(super) control: Arc<Control>,
    pub(super) setup: ThreadSetup,
}

/// A running vCPU thread.
pub(super) struct VcpuThread<U: BindVcpu> {
    handle: U::Handle,
    thread: JoinHandle<()>,
}

impl<U: BindVcpu> VcpuThread<U> {
    /// Starts the thread of vCPU `index`.
    ///
    /// # Errors
    /// [`Error::Os`] where there is no thread.
    pub(super) fn spawn(index: usize, unbound: U, start: VcpuStart, shared: Shared) -> Result<Self, Error> {
        let handle = unbound.handle();
        let thread = thread::Builder::new()
            .name(format!("vcpu{index}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let exit = run(index, unbound, start, &shared);
                tracing::debug!(vcpu = index, ?exit, "left the guest");
                if let Some(exit) = exit {
                    shared.outcome.end_as(exit);
                }
            })
            .map_err(Error::os("start a vCPU's thread"))?;
        Ok(Self { handle, thread })
    }

    /// Makes the vCPU leave the guest.
    ///
    /// # Errors
    /// [`Error::Os`].
    pub(super) fn kick(&self) -> Result<(), Error> {
        self.handle.kick().map_err(Error::os("kick a vCPU"))
    }

    /// Waits for the thread.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a vCPU's thread panicked");
        }
    }
}

/// Runs a vCPU until the machine ends, and says how it does where this vCPU decides that.
fn run<U: BindVcpu>(index: usize, unbound: U, start: VcpuStart, shared: &Shared) -> Option<VmExit> {
    let failed = |error: &dyn std::error::Error| VmExit::InternalError { detail: error.to_string() };
    let mut vcpu = match unbound.bind(start) {
        Ok(vcpu) => vcpu,
        Err(error) => return Some(failed(&error)),
    };
    if let Err(error) = (shared.setup)() {
        return Some(failed(&error));
    }
    if index == 0 {
        shared.outcome.record("first_run".into());
    }
    loop {
        if shared.control.pass() {
            vcpu.note_standstill();
        }
        if shared.outcome.has_ended() {
            return None;
        }
        match vcpu.run(&*shared.bus) {
            Ok(VcpuExit::Kicked | VcpuExit::Stopped) => {}
            Ok(exit) => return Some(end_of(exit)),
            Err(error) => return Some(failed(&error)),
        }
    }
}

/// What a vCPU's exit means for the machine.
fn end_of(exit: VcpuExit) -> VmExit {
    match exit {
        VcpuExit::PowerOff => VmExit::PowerOff,
        VcpuExit::Reset => VmExit::Reboot,
        VcpuExit::TripleFault => VmExit::TripleFault,
        VcpuExit::InternalError { suberror, data } => {
            VmExit::InternalError { detail: format!("suberror {suberror}, data {data:x?}") }
        }
        VcpuExit::FailEntry { reason } => {
            VmExit::InternalError { detail: format!("the hardware refused to enter the guest: {reason:#x}") }
        }
        other => VmExit::InternalError { detail: format!("{other:?}") },
    }
}
