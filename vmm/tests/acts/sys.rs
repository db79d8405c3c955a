//! Raw system calls, and processes that make one of them.
#![allow(unsafe_code, reason = "the system calls that a jail must stop have no safe wrappers")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::Pid;

/// An argument of a system call: a number, or the address of something that lives longer than the call.
pub(crate) trait Argument {
    fn word(&self) -> i64;
}

macro_rules! numbers {
    ($($number:ty),*) => { $(impl Argument for $number {
        fn word(&self) -> i64 {
            i64::try_from(*self).unwrap_or_else(|_| panic!("{self} is no argument"))
        }
    })* };
}
numbers!(i32, u32, i64, usize, u64);

impl Argument for &CStr {
    fn word(&self) -> i64 {
        (self.as_ptr() as usize).word()
    }
}

impl Argument for &[u8] {
    fn word(&self) -> i64 {
        (self.as_ptr() as usize).word()
    }
}

impl Argument for &OwnedFd {
    fn word(&self) -> i64 {
        i64::from(self.as_raw_fd())
    }
}

/// Makes a system call; a failure is the error's number, negative. A process that the call makes ends at once.
pub(crate) fn call(number: i64, arguments: &[&dyn Argument]) -> i64 {
    let words: Vec<i64> = arguments.iter().map(|argument| argument.word()).collect();
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    let parent = std::process::id();
    // SAFETY: pointers among the arguments are null or lead to memory that is alive, and the kernel judges them. What the call
    // does to this process does not matter: the process was made for it.
    let result = unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    if result == 0 && std::process::id() != parent {
        exit(0);
    }
    if result < 0 { -i64::from(errno) } else { result }
}

/// Ends the process at once.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Ends the process by SIGALRM after some seconds.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: takes a number.
    unsafe { libc::alarm(seconds) };
}

/// Runs `body` in a process of its own.
pub(crate) fn process(body: impl FnOnce()) -> Pid {
    // SAFETY: the caller has one thread (`--test-threads=1`), or others that hold no lock the child takes.
    match unsafe { libc::fork() } {
        0 => {
            // A panic ends here, not in the rest of the parent's program.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            exit(i32::from(ended.is_err()))
        }
        pid => Pid::from_raw(pid).expect("fork"),
    }
}

/// An address that a call may be given, of at least a page that is filled with zeroes.
pub(crate) fn page() -> &'static [u8] {
    static PAGE: [u8; 8192] = [0; 8192];
    &PAGE
}
