//! Whether this host's KVM can run an unmodified kernel, and in which words it cannot.

use std::fs;
use std::io;

use kvm_ioctls::{Cap, Kvm};

/// What a usable KVM says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// KVM's API version; 12 since 2007.
    pub api_version: i32,
    /// The most vCPUs one machine may have.
    pub max_vcpus: usize,
}

/// Why a host cannot run machines.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no `/dev/kvm`.
    #[error(
        "/dev/kvm is missing: virtualization is off in the firmware, the kvm_intel or kvm_amd module is not \
         loaded, or this is a virtual machine without nested virtualization"
    )]
    Missing,
    /// `/dev/kvm` is there but may not be opened.
    #[error(
        "no permission to open /dev/kvm: add this user to the group `kvm` (usermod -aG kvm USER) and log in again"
    )]
    NoPermission,
    /// `/dev/kvm` is there but the processor has no virtualization: a software KVM.
    #[error(
        "/dev/kvm is a software KVM: /proc/cpuinfo shows neither svm nor vmx. It cannot run an unmodified kernel; \
         a host with hardware virtualization is needed"
    )]
    Software,
    /// `/dev/kvm` is there and does something else than KVM does.
    #[error("/dev/kvm does not work: {0}")]
    Broken(String),
    /// It lacks a capability every machine needs.
    #[error("this kernel's KVM lacks {0}")]
    Lacks(&'static str),
}

/// Says what `/dev/kvm` of this host can do.
///
/// # Errors
/// [`Unusable`], whose text tells a user what to do.
pub fn probe() -> Result<HostFacts, Unusable> {
    let kvm = open()?;
    Ok(HostFacts { api_version: kvm.get_api_version(), max_vcpus: kvm.get_max_vcpus() })
}

/// Opens `/dev/kvm` once it is known to be worth it.
pub(crate) fn open() -> Result<Kvm, Unusable> {
    let kvm = Kvm::new().map_err(|e| not_opened(&io::Error::from_raw_os_error(e.errno())))?;
    if !has_hardware_virtualization(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()) {
        return Err(Unusable::Software);
    }
    if kvm.get_api_version() != 12 {
        return Err(Unusable::Broken(format!("API version {}, not 12", kvm.get_api_version())));
    }
    for (cap, name) in REQUIRED {
        if !kvm.check_extension(*cap) {
            return Err(Unusable::Lacks(name));
        }
    }
    Ok(kvm)
}

const REQUIRED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "in-kernel interrupt controllers (KVM_CAP_IRQCHIP)"),
    (Cap::Ioeventfd, "ioeventfd (KVM_CAP_IOEVENTFD)"),
    (Cap::UserMemory, "user memory slots (KVM_CAP_USER_MEMORY)"),
    (Cap::ImmediateExit, "immediate exit (KVM_CAP_IMMEDIATE_EXIT)"),
];

fn not_opened(error: &io::Error) -> Unusable {
    match error.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        io::ErrorKind::PermissionDenied => Unusable::NoPermission,
        _ => Unusable::Broken(error.to_string()),
    }
}

/// Whether `cpuinfo` (the text of /proc/cpuinfo) lists AMD-V or VT-x on its first processor.
#[cfg(target_arch = "x86_64")]
fn has_hardware_virtualization(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_ascii_whitespace().any(|flag| flag == "svm" || flag == "vmx"))
}

/// Elsewhere /dev/kvm exists only where the kernel started at the hypervisor's privilege level.
#[cfg(not(target_arch = "x86_64"))]
fn has_hardware_virtualization(_cpuinfo: &str) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_svm_or_vmx_has_no_hardware_virtualization() {
        let with = |flags: &str| {
            format!("processor\t: 0\nflags\t\t: fpu {flags} lm\n\nprocessor\t: 1\nflags\t\t: svm\n")
        };
        assert!(has_hardware_virtualization(&with("svm")));
        assert!(has_hardware_virtualization(&with("vmx")));
        assert!(!has_hardware_virtualization(&with("svm_lock vmxish")));
        assert!(!has_hardware_virtualization(""));
    }

    #[test]
    fn open_errors_say_what_to_do() {
        let of = |errno| not_opened(&io::Error::from_raw_os_error(errno));
        assert!(matches!(of(libc_errno::ENOENT), Unusable::Missing));
        assert!(of(libc_errno::EACCES).to_string().contains("usermod"));
        assert!(matches!(of(libc_errno::ENXIO), Unusable::Broken(_)));
    }

    mod libc_errno {
        pub(super) const ENOENT: i32 = 2;
        pub(super) const ENXIO: i32 = 6;
        pub(super) const EACCES: i32 = 13;
    }
}
