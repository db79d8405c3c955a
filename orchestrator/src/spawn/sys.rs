//! `posix_spawn(3)`: a child that inherits exactly the descriptors named, without a copy of the caller's address space.
//!
//! `std::process::Command` can pass only three descriptors; more would need code run between fork and exec, and a fork
//! that copies page tables.

#![allow(unsafe_code, reason = "posix_spawn and its attribute objects have no safe wrapper")]

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

/// Which signals a child does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// None.
    None,
    /// Those that ask a process to end: its parent ends it in another way.
    End,
}

/// Runs `program` with `args` (its own name first) and `env`, in a session of its own (a terminal's Ctrl-C is not for it), only
/// the signals of `blocked` blocked. The descriptors `inherit` keep their numbers; `stdin` is `/dev/null`; standard output and error are
/// `output`'s.
///
/// # Errors
/// What `posix_spawn` says.
pub(crate) fn spawn(
    program: &CStr,
    args: &[CString],
    env: &[CString],
    inherit: &[BorrowedFd<'_>],
    output: BorrowedFd<'_>,
    blocked: Blocked,
) -> io::Result<Pid> {
    let mut actions = Actions::new()?;
    actions.open(0, c"/dev/null")?;
    actions.dup(output.as_raw_fd(), 1)?;
    actions.dup(output.as_raw_fd(), 2)?;
    for fd in inherit {
        // To the same number: POSIX has that clear the child's close-on-exec flag and nothing else.
        actions.dup(fd.as_raw_fd(), fd.as_raw_fd())?;
    }
    let attributes = Attributes::new(blocked)?;
    let args = pointers(args);
    let env = pointers(env);
    let mut pid = 0;
    // SAFETY: every pointer is to an initialised object that outlives the call; `args` and `env` are arrays of C strings
    // ended by a null pointer.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            args.as_ptr(),
            env.as_ptr(),
        )
    })?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("posix_spawn gave no process"))
}

/// Goes on in a child of this process, which ends: whoever started this process has no child that it must wait for.
///
/// # Errors
/// What `fork` says.
pub(crate) fn leave_parent() -> io::Result<()> {
    // SAFETY: this process has one thread, so the child finds no lock that another thread held.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call only ends the process; what is to be flushed or dropped is the child's now.
        _ => unsafe { libc::_exit(0) },
    }
}

/// Takes over the descriptor of this number, which this process inherited for the caller alone.
///
/// # Errors
/// No such descriptor is open.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl looks at the number only.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open, and only the program that the number was handed to knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// The `posix_` functions return the error number.
fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises the object its pointer names, or fails.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn open(&mut self, fd: i32, path: &CStr) -> io::Result<()> {
        // SAFETY: the object is initialised; the path is copied before the call returns.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, fd, path.as_ptr(), libc::O_RDONLY, 0)
        })
    }

    fn dup(&mut self, from: i32, to: i32) -> io::Result<()> {
        // SAFETY: the object is initialised; descriptors are plain numbers here.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the object is initialised and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// The libc crate has this one as an int, the function wants a short.
const SETSIGMASK: i16 = 0x08;

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(blocked: Blocked) -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises the object its pointer names, or fails.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let signals: &[i32] = match blocked {
            Blocked::None => &[],
            Blocked::End => &[libc::SIGHUP, libc::SIGINT, libc::SIGTERM],
        };
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set its pointer names; the others read and change that set.
        check(unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            libc::posix_spawnattr_setsigmask(&raw mut attributes.0, set.as_ptr())
        })?;
        let flags = libc::POSIX_SPAWN_SETSID | SETSIGMASK;
        // SAFETY: the object is initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the object is initialised and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
