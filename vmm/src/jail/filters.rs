//! Seccomp filters from the lists of system calls.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::{JailError, syscalls};
use crate::attachments::ThreadKind;
use crate::host::{BIND_REQUESTS, RUN_REQUESTS};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// CLONE_FS, with which the file server's thread gets a umask of its own.
const CLONE_FS: u64 = 0x200;

const AF_UNIX: u64 = 1;

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// The filter of a thread of `kind`.
pub(super) fn thread(kind: ThreadKind) -> Result<BpfProgram, JailError> {
    let mut rules = allow(syscalls::EVERY_THREAD);
    add_kind(&mut rules, kind)?;
    compile(rules)
}

/// The filter of the main thread, which starts all the others of `kinds`: what any of them may, and starting threads.
pub(super) fn main(kinds: &[ThreadKind]) -> Result<BpfProgram, JailError> {
    let mut rules = allow(syscalls::EVERY_THREAD);
    rules.append(&mut allow(syscalls::MAIN));
    for &kind in kinds {
        add_kind(&mut rules, kind)?;
    }
    // A vCPU's thread sets its registers before it installs its own filter.
    rules.insert(libc::SYS_ioctl, requests(&[RUN_REQUESTS, BIND_REQUESTS])?);
    compile(rules)
}

/// One rule for each ioctl request.
fn requests(lists: &[&[u64]]) -> Result<Vec<SeccompRule>, JailError> {
    lists.iter().copied().flatten().map(|&request| argument_is(1, request)).collect()
}

fn add_kind(rules: &mut Rules, kind: ThreadKind) -> Result<(), JailError> {
    for calls in syscalls::of(kind) {
        rules.append(&mut allow(calls));
    }
    match kind {
        ThreadKind::Vsock => rules.insert(libc::SYS_socket, vec![argument_is(0, AF_UNIX)?]),
        ThreadKind::Vcpu => rules.insert(libc::SYS_ioctl, requests(&[RUN_REQUESTS])?),
        ThreadKind::Fs => rules.insert(libc::SYS_unshare, vec![argument_is(0, CLONE_FS)?]),
        _ => None,
    };
    Ok(())
}

/// Rules without conditions.
fn allow(calls: &[i64]) -> Rules {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

fn argument_is(index: u8, value: u64) -> Result<SeccompRule, JailError> {
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    condition
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|e| JailError::Seccomp(e.to_string()))
}

fn compile(rules: Rules) -> Result<BpfProgram, JailError> {
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, ARCH)
        .and_then(TryInto::try_into)
        .map_err(|error| JailError::Seccomp(error.to_string()))
}
