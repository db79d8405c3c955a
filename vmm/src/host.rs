//! Which hypervisor this build runs on.

/// KVM on Linux.
pub type HostHypervisor = monocore_kvm::Kvm;

/// The requests a vCPU's thread makes of it while it becomes that vCPU, and while it runs; and those that any thread makes
/// which raises an interrupt line.
pub(crate) use monocore_kvm::{BIND_REQUESTS, RAISE_REQUESTS, RUN_REQUESTS};
