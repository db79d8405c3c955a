//! What a virtualization backend implements and what a machine is built from: traits, guest RAM,
//! doorbells and interrupt lines. No operating system's hypervisor interface is named here.
//!
//! The traits take the shape of the stricter backend (Hypervisor.framework): one VM a process, vCPU calls
//! only on the thread that owns the vCPU, and neither doorbells nor interrupt lines are file
//! descriptors in a signature. Dispatch is static: a machine is `Machine<H: Hypervisor>`.

mod addr;
mod event;
mod exit;
pub mod layout;
pub mod memory;
mod traits;

pub use addr::{BusAddress, Gpa, Gsi};
pub use event::{Event, IrqLine};
pub use exit::{CpuIo, VcpuExit};
pub use memory::{GuestRam, GuestRegion};
pub use traits::{
    BindVcpu, Doorbell, DoorbellAddress, Hypervisor, Protection, RamSlot, Vcpu, VcpuHandle, VcpuStart, Vm,
};
