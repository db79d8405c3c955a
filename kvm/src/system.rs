//! `/dev/kvm` itself.

use kvm_bindings::CpuId;
use monocore_hypervisor::Hypervisor;

use crate::error::NamedCall;
use crate::{Error, KvmVm, arch, kick, probe};

/// The host's KVM, opened and found usable.
#[derive(Debug)]
pub struct Kvm {
    fd: kvm_ioctls::Kvm,
    cpuid: CpuId,
}

impl Kvm {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    /// [`Error::Unusable`] with a text for the user; [`Error::Call`] where it does not say what processors it offers.
    pub fn open() -> Result<Self, Error> {
        let fd = probe::open()?;
        // Here, because vCPU threads may be confined by the time they start.
        kick::install_handler()?;
        let cpuid = arch::supported_cpuid(&fd)?;
        Ok(Self { fd, cpuid })
    }
}

impl Hypervisor for Kvm {
    type Error = Error;
    type Vm = KvmVm;

    fn create_vm(&self, vcpus: u8) -> Result<KvmVm, Error> {
        let fd = self.fd.create_vm().call("KVM_CREATE_VM")?;
        arch::prepare_vm(&fd)?;
        Ok(KvmVm::new(fd, vcpus, self.cpuid.clone()))
    }
}
