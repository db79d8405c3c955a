//! Port accesses (KVM_EXIT_IO): `count` elements of `size` bytes each, which lie in the page after `kvm_run`.

use kvm_bindings::{KVM_EXIT_IO_IN, kvm_run};
use monocore_hypervisor::CpuIo;

/// Serves the port access that KVM_RUN just returned with.
///
/// A string instruction arrives as one exit with all its elements; devices see them one by one.
pub(crate) fn serve(run: &mut kvm_run, io: &impl CpuIo) {
    // SAFETY: the caller has seen KVM_EXIT_IO, with which KVM fills this member of the union.
    let access = unsafe { run.__bindgen_anon_1.io };
    let size = usize::from(access.size).max(1);
    let len = size * usize::try_from(access.count).unwrap_or(0);
    let start = usize::try_from(access.data_offset).unwrap_or(0);
    // SAFETY: KVM promises that the elements lie at `data_offset` within the vCPU's mapping, of which `run` is the start.
    let data = unsafe { std::slice::from_raw_parts_mut((&raw mut *run).cast::<u8>().add(start), len) };
    for element in data.chunks_exact_mut(size) {
        if u32::from(access.direction) == KVM_EXIT_IO_IN {
            io.port_read(access.port, element);
        } else {
            io.port_write(access.port, element);
        }
    }
}
