//! The form of the tables in `syscalls`: a system call, and what its arguments must be.
//!
//! A filter sees arguments as numbers, never what a pointer leads to. Only an argument's lower 32 bits are compared: each
//! argument named in a table is an `int` or flags of the lower half, and the kernel drops the rest as well.

/// A system call that is allowed if every test of its arguments holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) call: libc::c_long,
    pub(super) answer: Answer,
}

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Allows it if all tests hold; without tests, always.
    Allow(&'static [Test]),
    /// Says that there is no such call (ENOSYS), so that the C library uses an older one.
    Absent,
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Which argument, from 0.
    pub(super) argument: u32,
    /// The bits that are looked at.
    pub(super) mask: u32,
    /// What they may be.
    pub(super) values: Values,
}

/// Numbers an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// These.
    Numbers(&'static [u32]),
    /// Requests of `ioctl`.
    Requests(&'static [u64]),
    /// The number of this process.
    ThisProcess,
    /// The signal that makes a vCPU leave the guest.
    Kick,
    /// The signal that ends a file server's wait for a lock.
    EndOfWait,
}

/// `call` with any arguments.
pub(super) const fn any(call: libc::c_long) -> Rule {
    Rule { call, answer: Answer::Allow(&[]) }
}

/// `call` if all `tests` hold.
pub(super) const fn when(call: libc::c_long, tests: &'static [Test]) -> Rule {
    Rule { call, answer: Answer::Allow(tests) }
}

/// `call` does not exist.
pub(super) const fn absent(call: libc::c_long) -> Rule {
    Rule { call, answer: Answer::Absent }
}

/// The argument is one of `numbers`.
pub(super) const fn arg(argument: u32, numbers: &'static [u32]) -> Test {
    Test { argument, mask: u32::MAX, values: Values::Numbers(numbers) }
}

/// The argument is one of `values`.
pub(super) const fn is(argument: u32, values: Values) -> Test {
    Test { argument, mask: u32::MAX, values }
}

/// The argument without the bits of `ignored` is one of `numbers`.
pub(super) const fn besides(argument: u32, ignored: u32, numbers: &'static [u32]) -> Test {
    Test { argument, mask: !ignored, values: Values::Numbers(numbers) }
}

/// The argument has no bits but some of `flags`.
pub(super) const fn flags(argument: u32, flags: u32) -> Test {
    besides(argument, flags, &[0])
}
