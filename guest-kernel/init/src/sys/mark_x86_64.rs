//! The boot mark: a write to an I/O port of the machine's exit device.

use rustix::io::Errno;

use super::last_error;

/// Writes 1 to an I/O port: the machine notes when that happened.
pub(crate) fn mark(port: u16) -> Result<(), Errno> {
    // SAFETY: takes numbers only; from here on this process, PID 1 alone, may use that one port.
    if unsafe { libc::ioperm(libc::c_ulong::from(port), 1, 1) } != 0 {
        return Err(last_error());
    }
    // SAFETY: the port was just opened; the machine's exit device answers there and touches no memory.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") port, in("al") 1u8, options(nomem, nostack, preserves_flags));
        libc::ioperm(libc::c_ulong::from(port), 1, 0);
    }
    Ok(())
}
