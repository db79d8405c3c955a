//! A vCPU and its run loop.

use std::io;

use kvm_bindings::{CpuId, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::{VcpuExit as KvmExit, VcpuFd};
use monocore_hypervisor::{BindVcpu, CpuIo, Gpa, Vcpu, VcpuExit, VcpuStart};

use crate::error::NamedCall;
use crate::kick::Binding;
use crate::{Error, KvmVcpuHandle, VcpuState, arch, port_io};

/// A vCPU that has not yet found its thread.
#[derive(Debug)]
pub struct UnboundVcpu {
    fd: VcpuFd,
    index: u8,
    cpuid: CpuId,
    handle: KvmVcpuHandle,
}

impl UnboundVcpu {
    pub(crate) fn new(fd: VcpuFd, index: u8, cpuid: CpuId) -> Self {
        Self { fd, index, cpuid, handle: KvmVcpuHandle::default() }
    }
}

impl BindVcpu for UnboundVcpu {
    type Error = Error;
    type Bound = KvmVcpu;
    type Handle = KvmVcpuHandle;

    fn handle(&self) -> KvmVcpuHandle {
        self.handle.clone()
    }

    fn bind(mut self, start: VcpuStart) -> Result<KvmVcpu, Error> {
        arch::prepare_vcpu(&self.fd, self.cpuid, start)?;
        let binding = self.handle.bind(self.fd.get_kvm_run());
        tracing::debug!(vcpu = self.index, "bound");
        Ok(KvmVcpu {
            _binding: binding,
            handle: self.handle,
            fd: self.fd,
            unshared: std::marker::PhantomData,
        })
    }
}

/// A vCPU on its thread.
#[derive(Debug)]
pub struct KvmVcpu {
    // Dropped before `fd`, whose mapping the signal handler writes to.
    _binding: Binding,
    handle: KvmVcpuHandle,
    fd: VcpuFd,
    /// The signal handler finds the vCPU by its thread, so it must not leave it.
    unshared: std::marker::PhantomData<*mut ()>,
}

/// What an exit asks of the run loop once its borrow of `kvm_run` has ended.
enum Step {
    Continue,
    Written,
    Port,
    Interrupted,
    InternalError,
    Leave(VcpuExit),
    Fail(Error),
}

fn step(exit: Result<KvmExit<'_>, kvm_ioctls::Error>, io: &impl CpuIo) -> Step {
    match exit {
        Ok(KvmExit::IoIn(..) | KvmExit::IoOut(..)) => Step::Port,
        Ok(KvmExit::MmioRead(gpa, data)) => {
            io.mmio_read(Gpa(gpa), data);
            Step::Continue
        }
        Ok(KvmExit::MmioWrite(gpa, data)) => {
            io.mmio_write(Gpa(gpa), data);
            Step::Written
        }
        Ok(KvmExit::Intr) => Step::Interrupted,
        Ok(KvmExit::Hlt) => Step::Leave(VcpuExit::PowerOff),
        Ok(KvmExit::Shutdown) => Step::Leave(VcpuExit::TripleFault),
        Ok(KvmExit::InternalError) => Step::InternalError,
        Ok(KvmExit::FailEntry(reason, _)) => Step::Leave(VcpuExit::FailEntry { reason }),
        Ok(KvmExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _)) => Step::Leave(VcpuExit::PowerOff),
        Ok(KvmExit::SystemEvent(KVM_SYSTEM_EVENT_RESET | KVM_SYSTEM_EVENT_CRASH, _)) => {
            Step::Leave(VcpuExit::Reset)
        }
        Ok(KvmExit::MemoryFault { gpa, size, .. }) => {
            Step::Leave(VcpuExit::InternalError { suberror: 0, data: vec![gpa, size] })
        }
        Ok(KvmExit::Unsupported(reason)) => Step::Fail(Error::UnexpectedExit(reason)),
        Ok(_) => Step::Fail(Error::UnexpectedExit(u32::MAX)),
        Err(e) if e.errno() == libc::EINTR => Step::Interrupted,
        Err(e) if e.errno() == libc::EAGAIN => Step::Continue,
        Err(e) => {
            Step::Fail(Error::Call { call: "KVM_RUN", source: io::Error::from_raw_os_error(e.errno()) })
        }
    }
}

impl KvmVcpu {
    fn internal_error(&mut self) -> VcpuExit {
        // SAFETY: the caller has seen KVM_EXIT_INTERNAL_ERROR, with which KVM fills this member of the union.
        let internal = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.internal };
        let count = usize::try_from(internal.ndata).unwrap_or(0).min(internal.data.len());
        VcpuExit::InternalError {
            suberror: internal.suberror,
            data: internal.data.iter().take(count).copied().collect(),
        }
    }
}

impl KvmVcpu {
    /// Lets KVM finish the device access the last exit was for: registers show its effect only with the next KVM_RUN,
    /// which `immediate_exit` keeps from entering the guest.
    fn finish_access(&mut self) -> Result<(), Error> {
        self.fd.set_kvm_immediate_exit(1);
        let outcome = self.fd.run().map(drop);
        self.fd.set_kvm_immediate_exit(0);
        match outcome {
            Err(e) if e.errno() != libc::EINTR => Err(e).call("KVM_RUN"),
            _ => Ok(()),
        }
    }
}

impl Vcpu for KvmVcpu {
    type Error = Error;
    type State = VcpuState;

    fn run(&mut self, io: &impl CpuIo) -> Result<VcpuExit, Error> {
        loop {
            match step(self.fd.run(), io) {
                Step::Continue => {}
                Step::Written if !io.should_stop() => {}
                Step::Written => return Ok(VcpuExit::Stopped),
                Step::Port => {
                    port_io::serve(self.fd.get_kvm_run(), io);
                    if io.should_stop() {
                        return Ok(VcpuExit::Stopped);
                    }
                }
                Step::Interrupted => {
                    self.fd.set_kvm_immediate_exit(0);
                    if self.handle.take() {
                        return Ok(VcpuExit::Kicked);
                    }
                }
                Step::InternalError => return Ok(self.internal_error()),
                Step::Leave(exit) => return Ok(exit),
                Step::Fail(error) => return Err(error),
            }
        }
    }

    /// By KVM_KVMCLOCK_CTRL.
    fn note_standstill(&mut self) {
        // The only failure is a guest that does not look at the clock's flags.
        let _ = self.fd.kvmclock_ctrl();
    }

    fn save(&mut self) -> Result<VcpuState, Error> {
        self.finish_access()?;
        arch::save_vcpu(&self.fd)
    }

    fn restore(&mut self, state: &VcpuState) -> Result<(), Error> {
        arch::restore_vcpu(&self.fd, state)
    }
}
