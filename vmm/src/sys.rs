//! Inherited descriptors, and RAM handed to the hypervisor.
#![allow(unsafe_code, reason = "numbers become descriptors, and host memory becomes the guest's")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use monocore_hypervisor::memory::GuestRegion;
use monocore_hypervisor::{Gpa, Protection, RamSlot, Vm};
use vm_memory::GuestMemoryRegion;

/// A descriptor of our own of what `number` stands for; the inherited one stays open.
///
/// # Errors
/// The operating system's: the number stands for nothing, or no descriptor is free.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not -1, and it is borrowed for one `fcntl`, which says itself whether it is open.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    inherited.try_clone_to_owned()
}

/// Closes descriptors `first` to `last`, both included.
///
/// # Errors
/// The operating system's: a kernel before 5.9.
pub(crate) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: a system call on numbers. Callers own none of the descriptors in a Rust type.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Which side of a [`fork`] this is.
pub(crate) enum Forked {
    Parent,
    Child,
}

/// Makes a second process of this one. Called while the process has one thread.
///
/// # Errors
/// The operating system's.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: the process has one thread, so no lock is held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(Forked::Parent),
    }
}

/// Ends the process without destructors or handlers of its exit.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// LANDLOCK_CREATE_RULESET_VERSION (include/uapi/linux/landlock.h).
const LANDLOCK_VERSION: u32 = 1;

/// The version of the kernel's Landlock, 0 where it has none or has it turned off.
pub(crate) fn landlock_version() -> u32 {
    // SAFETY: with this flag the call takes no attributes, makes nothing, and returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, LANDLOCK_VERSION)
    };
    u32::try_from(version).unwrap_or(0)
}

/// Has all threads allocate from one heap. Each other heap would be a mapping of its own, and to make one smaller the C library reads
/// a file below /proc, which no jailed thread may.
pub(crate) fn one_heap() {
    // SAFETY: takes numbers.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 0 {
        tracing::warn!("the C library keeps several heaps");
    }
}

/// Gives `region` to the guest. [`Machine`](crate::Machine) and [`Running`](crate::Running) hold the RAM it is of until the VM is gone.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn map_region<V: Vm>(vm: &V, region: &GuestRegion) -> Result<RamSlot, V::Error> {
    let (gpa, len) = (Gpa(region.start_addr().0), region.size());
    // SAFETY: the region's mapping lives as long as the RAM it is of, which the machine drops after its VM; all access to it
    // goes through `vm-memory`'s volatile slices.
    unsafe { vm.map_ram(gpa, region.as_ptr(), len, Protection::ReadWriteExecute) }
}
