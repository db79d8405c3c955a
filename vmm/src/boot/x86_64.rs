//! The x86_64 boot: a PVH kernel with MP table and start info.

use monocore_hypervisor::memory::Backing;
use monocore_hypervisor::{GuestRam, VcpuStart};
use monocore_spec::KernelSpec;

use super::{CommandLine, initrd, kernel, mp_table, pvh};
use crate::Error;

/// Loads what `spec` names into `ram` and says how the boot processor starts.
///
/// # Errors
/// [`Error`], naming the file.
pub(crate) fn load(
    spec: &KernelSpec,
    command_line: &CommandLine,
    ram: &GuestRam,
    backing: Backing,
    vcpus: u8,
) -> Result<VcpuStart, Error> {
    let kernel = kernel::load(&spec.image, ram, backing)?;
    let initrd = initrd::load(&spec.initrd, ram, backing, kernel.end)?;
    mp_table::write(ram, vcpus)?;
    let start_info = pvh::write(ram, command_line, initrd)?;
    Ok(VcpuStart::Boot { entry: kernel.entry, argument: start_info })
}
