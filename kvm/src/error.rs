//! What goes wrong in KVM.

use crate::Unusable;

/// An operation KVM refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's KVM cannot run a machine at all.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A call failed.
    #[error("{call}: {source}")]
    Call {
        /// The ioctl or system call.
        call: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// KVM took fewer MSRs than it was given: the host lacks the one named.
    #[error("KVM refuses MSR {index:#x}")]
    Msr {
        /// The first one refused.
        index: u32,
    },
    /// A vCPU index past the number the machine was made for.
    #[error("vCPU {index} of a machine of {vcpus}")]
    VcpuIndex {
        /// The index asked for.
        index: u8,
        /// The machine's number of vCPUs.
        vcpus: u8,
    },
    /// A memory slot that is not mapped.
    #[error("memory slot {0} is not mapped")]
    Slot(u32),
    /// An interrupt pin that does not exist or is taken.
    #[error("interrupt pin {0} does not exist or is taken")]
    Gsi(u32),
    /// KVM gave an exit this backend has no use for.
    #[error("KVM gave exit reason {0}, which this machine never asks for")]
    UnexpectedExit(u32),
}

/// Names the call of a `kvm_ioctls` result.
pub(crate) trait NamedCall<T> {
    fn call(self, call: &'static str) -> Result<T, Error>;
}

impl<T> NamedCall<T> for Result<T, kvm_ioctls::Error> {
    fn call(self, call: &'static str) -> Result<T, Error> {
        self.map_err(|e| Error::Call { call, source: std::io::Error::from_raw_os_error(e.errno()) })
    }
}

impl<T> NamedCall<T> for std::io::Result<T> {
    fn call(self, call: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Call { call, source })
    }
}
