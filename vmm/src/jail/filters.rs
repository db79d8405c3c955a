//! Seccomp filters from the tables of system calls.
//!
//! A filter finds the call's number by binary search. When a filter is installed, the kernel runs it once for each number to
//! learn which calls are always allowed. A filter that tries one number after the other costs 1.6 million instructions there,
//! this one a tenth.
//!
//! Source: Linux Documentation/userspace-api/seccomp_filter.rst; include/uapi/linux/{seccomp,audit,bpf_common}.h.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

use super::rules::{Answer, Rule, Test, Values};
use super::{JailError, syscalls};
use crate::attachments::ThreadKind;
use crate::host::kick_signal;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Where `struct seccomp_data` holds number, architecture and arguments (the low halves, little endian).
const DATA_NUMBER: u32 = 0;
const DATA_ARCH: u32 = 4;
const DATA_ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// SECCOMP_RET_ERRNO with ENOSYS.
const NO_SUCH_CALL: u32 = 0x0005_0000 | 38;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Kill,
    Absent,
    /// Allowed if all tests of one of the lists hold.
    AllowIf(Vec<&'static [Test]>),
}

type Verdicts = BTreeMap<u32, Verdict>;

/// The filter of a thread of `kind`.
pub(super) fn thread(kind: ThreadKind) -> Result<BpfProgram, JailError> {
    compile([syscalls::EVERY_THREAD].iter().chain(syscalls::of(kind)))
}

/// The filter of a machine's main thread, which starts all the others of `kinds`: what any of them may, and starting threads.
pub(super) fn main(kinds: &[ThreadKind]) -> Result<BpfProgram, JailError> {
    starter(kinds, syscalls::MACHINE)
}

/// The filter of a vhost-user server's main thread, which starts the device's.
pub(super) fn server(kind: ThreadKind) -> Result<BpfProgram, JailError> {
    starter(&[kind], syscalls::VHOST_USER)
}

/// The filter of the thread that is kept to start the file server's: what that one may, starting and confining it.
pub(super) fn keeper() -> Result<BpfProgram, JailError> {
    starter(&[ThreadKind::Fs], syscalls::LANDLOCK)
}

/// The filter of a socket device's broker.
pub(super) fn broker() -> Result<BpfProgram, JailError> {
    compile(&[syscalls::EVERY_THREAD, syscalls::BROKER])
}

fn starter(kinds: &[ThreadKind], own: &'static [Rule]) -> Result<BpfProgram, JailError> {
    let of_kinds = kinds.iter().flat_map(|kind| syscalls::of(*kind));
    compile(of_kinds.chain(&[syscalls::EVERY_THREAD, syscalls::STARTER, own]))
}

fn compile<'t>(tables: impl IntoIterator<Item = &'t &'static [Rule]>) -> Result<BpfProgram, JailError> {
    let mut verdicts = Verdicts::new();
    for rule in tables.into_iter().copied().flatten() {
        add(&mut verdicts, rule)?;
    }
    let mut program = vec![
        op(LOAD, 0, 0, DATA_ARCH),
        op(JUMP_EQUAL, 1, 0, AUDIT_ARCH),
        op(RETURN, 0, 0, KILL_PROCESS),
        op(LOAD, 0, 0, DATA_NUMBER),
    ];
    program.extend(search(&spans(&verdicts))?);
    Ok(program)
}

/// Adds a rule to those that allow the same call.
fn add(verdicts: &mut Verdicts, rule: &Rule) -> Result<(), JailError> {
    let number = u32::try_from(rule.call)
        .map_err(|_| JailError::Seccomp(format!("{}: not a system call's number", rule.call)))?;
    let verdict = verdicts.entry(number).or_insert(Verdict::AllowIf(Vec::new()));
    match (&mut *verdict, rule.answer) {
        (Verdict::Allow, Answer::Allow(_)) => {}
        (Verdict::Absent, Answer::Absent) => {}
        (Verdict::AllowIf(_), Answer::Allow([])) => *verdict = Verdict::Allow,
        (Verdict::AllowIf(lists), Answer::Allow(tests)) if lists.contains(&tests) => {}
        (Verdict::AllowIf(lists), Answer::Allow(tests)) => lists.push(tests),
        (Verdict::AllowIf(lists), Answer::Absent) if lists.is_empty() => *verdict = Verdict::Absent,
        _ => return Err(JailError::Seccomp(format!("call {number} is allowed and absent"))),
    }
    Ok(())
}

fn op(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The numbers from which on another verdict holds, beginning with 0.
fn spans(verdicts: &Verdicts) -> Vec<(u32, Verdict)> {
    let mut spans = vec![(0, Verdict::Kill)];
    for (&number, verdict) in verdicts {
        // What lies between two calls of the tables is killed.
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

/// A binary search through `spans`; the number is loaded.
fn search(spans: &[(u32, Verdict)]) -> Result<BpfProgram, JailError> {
    let [_, _, ..] = spans else {
        return verdict(spans.first().map_or(&Verdict::Kill, |(_, verdict)| verdict));
    };
    let (low, high) = spans.split_at(spans.len() / 2);
    let below = search(low)?;
    let boundary = high.first().map_or(u32::MAX, |(start, _)| *start);
    let mut program = match u8::try_from(below.len()) {
        Ok(skip) => vec![op(JUMP_GREATER_EQUAL, skip, 0, boundary)],
        // A condition jumps over 255 instructions at most.
        Err(_) => {
            let skip = u32::try_from(below.len()).map_err(|_| too_long())?;
            vec![op(JUMP_GREATER_EQUAL, 0, 1, boundary), op(JUMP, 0, 0, skip)]
        }
    };
    program.extend(below);
    program.extend(search(high)?);
    Ok(program)
}

fn verdict(verdict: &Verdict) -> Result<BpfProgram, JailError> {
    let returns = |what| op(RETURN, 0, 0, what);
    Ok(match verdict {
        Verdict::Allow => vec![returns(ALLOW)],
        Verdict::Kill => vec![returns(KILL_PROCESS)],
        Verdict::Absent => vec![returns(NO_SUCH_CALL)],
        Verdict::AllowIf(lists) => {
            let mut program = Vec::new();
            for tests in lists {
                program.extend(allow_if(tests)?);
            }
            program.push(returns(KILL_PROCESS));
            program
        }
    })
}

/// Returns if all `tests` hold; else goes on behind the program.
fn allow_if(tests: &[Test]) -> Result<BpfProgram, JailError> {
    let mut program = vec![op(RETURN, 0, 0, ALLOW)];
    for test in tests.iter().rev() {
        let behind = u8::try_from(program.len()).map_err(|_| too_long())?;
        let mut piece = vec![op(LOAD, 0, 0, DATA_ARGUMENTS + 8 * test.argument)];
        if test.mask != u32::MAX {
            piece.push(op(AND, 0, 0, test.mask));
        }
        let values = values(test.values)?;
        for (at, value) in values.iter().enumerate() {
            let left = u8::try_from(values.len() - 1 - at).map_err(|_| too_long())?;
            let unequal = if left == 0 { behind } else { 0 };
            piece.push(op(JUMP_EQUAL, left, unequal, *value));
        }
        piece.extend(program);
        program = piece;
    }
    Ok(program)
}

fn values(values: Values) -> Result<Vec<u32>, JailError> {
    let number = |number: u64| {
        u32::try_from(number).map_err(|_| JailError::Seccomp("an argument of more than 32 bits".into()))
    };
    match values {
        Values::Numbers(numbers) => Ok(numbers.to_vec()),
        Values::Requests(requests) => requests.iter().map(|request| number(*request)).collect(),
        Values::ThisProcess => Ok(vec![std::process::id()]),
        Values::Kick => Ok(vec![kick_signal()]),
        Values::EndOfWait => Ok(vec![monocore_fs::end_of_wait_signal()]),
    }
}

fn too_long() -> JailError {
    JailError::Seccomp("a filter too long to jump in".into())
}

#[cfg(test)]
#[path = "filters_tests.rs"]
mod tests;
