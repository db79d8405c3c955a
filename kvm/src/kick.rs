//! Getting a vCPU out of KVM_RUN from another thread.
//!
//! The kicker sets a flag and sends a signal to the vCPU's thread. The signal's handler sets `immediate_exit` in
//! that thread's `kvm_run`: whether it comes before, in or after KVM_RUN, the next KVM_RUN returns EINTR at once, and
//! the run loop then looks at the flag.

use std::cell::Cell;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use kvm_bindings::kvm_run;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use crate::Error;
use crate::error::NamedCall;

thread_local! {
    /// `immediate_exit` of the vCPU bound to this thread. Constant-initialized and without a destructor, so the signal
    /// handler may touch it at any time.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

#[derive(Debug, Default)]
struct Shared {
    kicked: AtomicBool,
    /// The kernel's id of the vCPU's thread while one is bound.
    thread: Mutex<Option<libc::pid_t>>,
}

/// The signal that makes a vCPU's thread leave the guest, for whoever confines the thread that sends it.
pub fn kick_signal() -> u32 {
    SIGRTMIN().unsigned_abs()
}

/// Kicks one vCPU.
#[derive(Clone, Debug, Default)]
pub struct KvmVcpuHandle(Arc<Shared>);

impl monocore_hypervisor::VcpuHandle for KvmVcpuHandle {
    fn kick(&self) -> io::Result<()> {
        self.0.kicked.store(true, Ordering::SeqCst);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tid) = *thread else { return Ok(()) };
        // SAFETY: a system call on numbers; the lock keeps the thread alive, so the signal cannot reach another one.
        match unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, SIGRTMIN()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl KvmVcpuHandle {
    /// Whether it was kicked since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.kicked.swap(false, Ordering::SeqCst)
    }

    /// Makes kicks reach the calling thread, whose vCPU's shared page is `run`; ended by dropping the result.
    pub(crate) fn bind(&self, run: &mut kvm_run) -> Binding {
        IMMEDIATE_EXIT.set(&raw mut run.immediate_exit);
        // SAFETY: a system call without arguments.
        let tid = unsafe { libc::gettid() };
        *self.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(tid);
        Binding(self.clone())
    }
}

/// The tie between a handle and the thread its vCPU runs on.
#[derive(Debug)]
pub(crate) struct Binding(KvmVcpuHandle);

impl Drop for Binding {
    fn drop(&mut self) {
        *self.0.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = None;
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: `Binding`, dropped on this thread before its vCPU, keeps the pointer only while `kvm_run` is mapped.
        unsafe { flag.write_volatile(1) };
    }
}

/// Sets the signal's handler for the whole process, once.
///
/// # Errors
/// [`Error::Call`].
pub(crate) fn install_handler() -> Result<(), Error> {
    static INSTALL: Once = Once::new();
    static FAILURE: OnceLock<i32> = OnceLock::new();
    INSTALL.call_once(|| {
        if let Err(e) = register_signal_handler(SIGRTMIN(), on_kick) {
            let _ = FAILURE.set(e.errno());
        }
    });
    match FAILURE.get() {
        None => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(*errno)).call("sigaction"),
    }
}
