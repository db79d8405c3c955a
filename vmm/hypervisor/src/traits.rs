//! The traits of a backend: host → VM → vCPU.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BusAddress, CpuIo, Event, Gpa, Gsi, IrqLine, VcpuExit};

/// A virtualization interface of the host.
pub trait Hypervisor: Sized {
    /// What goes wrong in it.
    type Error: std::error::Error + Send + Sync + 'static;
    /// A virtual machine of it.
    type Vm: Vm<Error = Self::Error>;

    /// Makes an empty virtual machine with its interrupt controller and room for `vcpus` vCPUs.
    ///
    /// # Errors
    /// The backend's, saying what the host lacks.
    fn create_vm(&self, vcpus: u8) -> Result<Self::Vm, Self::Error>;
}

/// What the guest may do with a range of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Read, write, execute.
    ReadWriteExecute,
    /// Read and execute; a write is an access to the bus.
    ReadExecute,
}

/// A handle of one mapped RAM range, given by [`Vm::map_ram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RamSlot(pub u32);

/// Where and with what width a write rings a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorbellAddress {
    /// The register, 4 bytes wide.
    pub register: BusAddress,
    /// The value whose write rings it (a virtqueue's index).
    pub value: u32,
}

/// A doorbell: an [`Event`] that the hypervisor raises when the guest writes to its address.
#[derive(Debug)]
pub struct Doorbell(pub Event);

impl AsFd for Doorbell {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A virtual machine: RAM, interrupt lines, doorbells, vCPUs.
pub trait Vm: Send + Sync {
    /// What goes wrong in it.
    type Error: std::error::Error + Send + Sync + 'static;
    /// A vCPU that has not yet found its thread.
    type Unbound: BindVcpu<Error = Self::Error>;
    /// Interrupt controllers and clock, as they are kept in a snapshot.
    type State: Serialize + DeserializeOwned + Send;

    /// Maps `host` (page-aligned start and length, 16 KiB pages at worst) into the guest at `gpa`.
    ///
    /// # Safety
    /// `host` must stay mapped and must not be handed out as a Rust reference until the range is
    /// unmapped or the machine is gone.
    ///
    /// # Errors
    /// The backend's; ranges that overlap or are not aligned.
    #[allow(unsafe_code, reason = "a declaration; callers live in modules that may be unsafe")]
    unsafe fn map_ram(
        &self,
        gpa: Gpa,
        host: *mut u8,
        len_bytes: usize,
        protection: Protection,
    ) -> Result<RamSlot, Self::Error>;

    /// Takes a range out of the guest.
    ///
    /// # Errors
    /// The backend's; an unknown slot.
    fn unmap(&self, slot: RamSlot) -> Result<(), Self::Error>;

    /// The interrupt line at input pin `gsi`.
    ///
    /// # Errors
    /// The backend's; a pin that does not exist or is taken.
    fn irq_line(&self, gsi: Gsi) -> Result<Arc<dyn IrqLine>, Self::Error>;

    /// A doorbell at `address`, or `None` where the host has none and the write arrives at
    /// [`CpuIo::mmio_write`] or [`CpuIo::port_write`] instead (the transport then raises the event itself).
    ///
    /// # Errors
    /// The backend's.
    fn doorbell(&self, address: DoorbellAddress) -> Result<Option<Doorbell>, Self::Error>;

    /// vCPU number `index`, to be bound on the thread that will run it.
    ///
    /// # Errors
    /// The backend's; an index past the number the machine was made for.
    fn create_vcpu(&self, index: u8) -> Result<Self::Unbound, Self::Error>;

    /// The state of interrupt controllers and clock, while no vCPU runs.
    ///
    /// # Errors
    /// The backend's.
    fn save(&self) -> Result<Self::State, Self::Error>;

    /// Takes back what [`save`](Self::save) gave, before the first vCPU runs.
    ///
    /// # Errors
    /// The backend's.
    fn restore(&self, state: &Self::State) -> Result<(), Self::Error>;
}

/// How a vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VcpuStart {
    /// The boot processor: execution begins at `entry` with `argument` where the boot protocol wants it (x86_64: PVH, 32-bit
    /// protected mode, `rbx` = start info; aarch64: `x0` = device tree).
    Boot {
        /// First instruction.
        entry: Gpa,
        /// What the guest is handed.
        argument: Gpa,
    },
    /// Another processor: it waits until the guest starts it (x86_64: INIT and SIPI; aarch64: PSCI CPU_ON).
    Wait,
}

/// A vCPU on its way to its thread.
pub trait BindVcpu: Send + 'static {
    /// What goes wrong in it.
    type Error: std::error::Error + Send + Sync + 'static;
    /// The vCPU once bound; it never leaves its thread.
    type Bound: Vcpu<Error = Self::Error>;
    /// Kicks it from other threads.
    type Handle: VcpuHandle;

    /// A handle for other threads, good before the vCPU has found its thread and after it is gone.
    fn handle(&self) -> Self::Handle;

    /// Binds the vCPU to the calling thread and sets its registers.
    ///
    /// # Errors
    /// The backend's.
    fn bind(self, start: VcpuStart) -> Result<Self::Bound, Self::Error>;
}

/// A vCPU on its thread.
pub trait Vcpu {
    /// What goes wrong in it.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Everything the guest can see of the vCPU, as it is kept in a snapshot.
    type State: Serialize + DeserializeOwned + Send;

    /// Runs the guest until something other than a device access happens.
    ///
    /// # Errors
    /// The backend's; the machine must end.
    fn run(&mut self, io: &impl CpuIo) -> Result<VcpuExit, Self::Error>;

    /// Tells the guest that this vCPU stood still while time went on, so that its watchdogs do not take that for a
    /// processor that hangs. A guest that does not listen is none the wiser.
    fn note_standstill(&mut self);

    /// The vCPU's state, while it does not run.
    ///
    /// # Errors
    /// The backend's.
    fn save(&mut self) -> Result<Self::State, Self::Error>;

    /// Takes back what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// The backend's, most likely that the state needs what this host lacks.
    fn restore(&mut self, state: &Self::State) -> Result<(), Self::Error>;
}

/// Makes a running vCPU leave [`Vcpu::run`] with [`VcpuExit::Kicked`]; a kick before the run is not lost.
pub trait VcpuHandle: Send + Sync + Clone + 'static {
    /// Kicks the vCPU; one that is gone takes no notice.
    ///
    /// # Errors
    /// The operating system's.
    fn kick(&self) -> io::Result<()>;
}
