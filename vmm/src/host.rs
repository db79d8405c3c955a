//! Which hypervisor this build runs on.

/// KVM on Linux.
pub type HostHypervisor = monocore_kvm::Kvm;

/// The requests a vCPU's thread makes of the hypervisor while it becomes that vCPU, and while it runs; those that any thread
/// makes which raises an interrupt line; and the signal that makes a vCPU's thread leave the guest.
pub(crate) use monocore_kvm::{BIND_REQUESTS, RAISE_REQUESTS, RUN_REQUESTS, kick_signal};
