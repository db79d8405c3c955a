//! Which hypervisor this build runs on.

/// KVM on Linux.
pub type HostHypervisor = monocore_kvm::Kvm;
