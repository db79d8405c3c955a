//! The x86_64 boot: a PVH kernel with MP table and start info.

use monocore_hypervisor::memory::Backing;
use monocore_hypervisor::{GuestRam, VcpuStart};
use monocore_spec::VmSpec;

use super::{CommandLine, initrd, kernel, mp_table, pvh};
use crate::Error;

/// Loads what `spec` boots into `ram` and says how the boot processor starts.
///
/// # Errors
/// [`Error`], naming the file.
pub(crate) fn load(
    spec: &VmSpec,
    command_line: &CommandLine,
    ram: &GuestRam,
    backing: Backing,
) -> Result<VcpuStart, Error> {
    let kernel = kernel::load(&spec.kernel.image, ram, backing)?;
    let initrd = initrd::load(&spec.kernel.initrd, ram, backing, kernel.end)?;
    mp_table::write(ram, spec.vcpus, spec.devices.len())?;
    let start_info = pvh::write(ram, command_line, initrd)?;
    Ok(VcpuStart::Boot { entry: kernel.entry, argument: start_info })
}
