//! Seccomp filters from the lists of system calls.
//!
//! A filter searches the call's number by halves. The kernel runs a new filter for every number there is to learn which it
//! always allows, so a filter that tries one number after the other costs 1.6 million instructions to install, this one a
//! tenth.
//!
//! Source: Linux Documentation/userspace-api/seccomp_filter.rst; include/uapi/linux/{seccomp,audit,bpf_common}.h.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

use super::{JailError, syscalls};
use crate::attachments::ThreadKind;
use crate::host::{BIND_REQUESTS, RAISE_REQUESTS, RUN_REQUESTS};

/// CLONE_FS, with which the file server's thread gets a umask of its own.
const CLONE_FS: u64 = 0x200;
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
/// How much a socket has not sent yet; which offloads a tap interface has.
const TIOCOUTQ: u64 = 0x5411;
const TUNSETOFFLOAD: u64 = 0x4004_54d0;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Where `struct seccomp_data` holds number, architecture and arguments (the low halves, little endian).
const DATA_NUMBER: u32 = 0;
const DATA_ARCH: u32 = 4;
const DATA_ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Kill,
    /// Allowed if the argument is one of the values.
    IfArgument {
        index: u32,
        values: Vec<u32>,
    },
}

type Rules = BTreeMap<u32, Verdict>;

/// The filter of a thread of `kind`.
pub(super) fn thread(kind: ThreadKind) -> Result<BpfProgram, JailError> {
    let mut rules = Rules::new();
    allow(&mut rules, syscalls::EVERY_THREAD)?;
    add_kind(&mut rules, kind)?;
    compile(&rules)
}

/// The filter of the main thread, which starts all the others of `kinds`: what any of them may, and starting threads.
pub(super) fn main(kinds: &[ThreadKind]) -> Result<BpfProgram, JailError> {
    let mut rules = Rules::new();
    allow(&mut rules, syscalls::EVERY_THREAD)?;
    allow(&mut rules, syscalls::MAIN)?;
    for &kind in kinds {
        add_kind(&mut rules, kind)?;
    }
    // A vCPU's thread sets its registers before it installs its own filter.
    restrict(&mut rules, libc::SYS_ioctl, 1, BIND_REQUESTS)?;
    compile(&rules)
}

/// The filter of the thread that is kept to start the file server's: what that one may, starting and confining it.
pub(super) fn keeper() -> Result<BpfProgram, JailError> {
    let mut rules = Rules::new();
    for calls in [syscalls::EVERY_THREAD, syscalls::MAIN, syscalls::LANDLOCK] {
        allow(&mut rules, calls)?;
    }
    add_kind(&mut rules, ThreadKind::Fs)?;
    compile(&rules)
}

fn add_kind(rules: &mut Rules, kind: ThreadKind) -> Result<(), JailError> {
    for calls in syscalls::of(kind) {
        allow(rules, calls)?;
    }
    match kind {
        ThreadKind::Vcpu => restrict(rules, libc::SYS_ioctl, 1, RUN_REQUESTS),
        ThreadKind::Vsock => restrict(rules, libc::SYS_socket, 0, &[AF_UNIX]),
        ThreadKind::Tsi => restrict(rules, libc::SYS_socket, 0, &[AF_UNIX, AF_INET, AF_INET6]),
        ThreadKind::Fs => restrict(rules, libc::SYS_unshare, 0, &[CLONE_FS]),
        ThreadKind::Nat => {
            restrict(rules, libc::SYS_socket, 0, &[AF_INET, AF_INET6])?;
            restrict(rules, libc::SYS_ioctl, 1, &[TIOCOUTQ])
        }
        ThreadKind::Tap => restrict(rules, libc::SYS_ioctl, 1, &[TUNSETOFFLOAD]),
        _ => Ok(()),
    }?;
    // Devices interrupt the guest from their own threads, and from a vCPU's where the transport or a port has something to say.
    restrict(rules, libc::SYS_ioctl, 1, RAISE_REQUESTS)
}

fn number(call: i64) -> Result<u32, JailError> {
    u32::try_from(call).map_err(|_| JailError::Seccomp(format!("{call} is no system call's number")))
}

fn allow(rules: &mut Rules, calls: &[i64]) -> Result<(), JailError> {
    for &call in calls {
        rules.insert(number(call)?, Verdict::Allow);
    }
    Ok(())
}

/// Allows `call` if the low half of its argument `index` is one of `values`, or of those it was allowed with before.
fn restrict(rules: &mut Rules, call: i64, index: u32, values: &[u64]) -> Result<(), JailError> {
    let values = values.iter().map(|value| u32::try_from(*value)).collect::<Result<_, _>>();
    let values = values.map_err(|_| JailError::Seccomp("an argument of more than 32 bits".into()))?;
    match rules.entry(number(call)?).or_insert(Verdict::IfArgument { index, values: Vec::new() }) {
        Verdict::IfArgument { index: same, values: all } if *same == index => {
            all.extend::<Vec<u32>>(values);
            Ok(())
        }
        _ => Err(JailError::Seccomp(format!("call {call} is judged in two ways"))),
    }
}

fn op(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn compile(rules: &Rules) -> Result<BpfProgram, JailError> {
    let mut program = vec![
        op(LOAD, 0, 0, DATA_ARCH),
        op(JUMP_EQUAL, 1, 0, AUDIT_ARCH),
        op(RETURN, 0, 0, KILL_PROCESS),
        op(LOAD, 0, 0, DATA_NUMBER),
    ];
    program.extend(search(&spans(rules))?);
    Ok(program)
}

/// The numbers from which on another verdict holds, beginning with 0.
fn spans(rules: &Rules) -> Vec<(u32, Verdict)> {
    let mut spans = vec![(0, Verdict::Kill)];
    for (&number, verdict) in rules {
        // What lies between two calls of the lists is killed.
        if spans.last().is_some_and(|(start, _)| *start == number) {
            spans.pop();
        }
        if spans.last().is_none_or(|(_, last)| last != verdict) {
            spans.push((number, verdict.clone()));
        }
        spans.push((number + 1, Verdict::Kill));
    }
    spans
}

/// A search through `spans` by halves; the number is loaded.
fn search(spans: &[(u32, Verdict)]) -> Result<BpfProgram, JailError> {
    let [_, _, ..] = spans else {
        return answer(spans.first().map_or(&Verdict::Kill, |(_, verdict)| verdict));
    };
    let (low, high) = spans.split_at(spans.len() / 2);
    let below = search(low)?;
    let skip =
        u8::try_from(below.len()).map_err(|_| JailError::Seccomp("a filter too long to jump in".into()))?;
    let boundary = high.first().map_or(u32::MAX, |(start, _)| *start);
    let mut program = vec![op(JUMP_GREATER_EQUAL, skip, 0, boundary)];
    program.extend(below);
    program.extend(search(high)?);
    Ok(program)
}

fn answer(verdict: &Verdict) -> Result<BpfProgram, JailError> {
    Ok(match verdict {
        Verdict::Allow => vec![op(RETURN, 0, 0, ALLOW)],
        Verdict::Kill => vec![op(RETURN, 0, 0, KILL_PROCESS)],
        Verdict::IfArgument { index, values } => {
            let mut program = vec![op(LOAD, 0, 0, DATA_ARGUMENTS + 8 * index)];
            for (at, value) in values.iter().enumerate() {
                // Over the values that are left and the refusal.
                let to_allow = u8::try_from(values.len() - at);
                let to_allow = to_allow.map_err(|_| JailError::Seccomp("too many arguments".into()))?;
                program.push(op(JUMP_EQUAL, to_allow, 0, *value));
            }
            program.push(op(RETURN, 0, 0, KILL_PROCESS));
            program.push(op(RETURN, 0, 0, ALLOW));
            program
        }
    })
}

#[cfg(test)]
#[path = "filters_tests.rs"]
mod tests;
