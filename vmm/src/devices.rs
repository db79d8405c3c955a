//! Devices from their specifications, each behind its window.

use monocore_hypervisor::{Doorbell, DoorbellAddress, Event, Gpa, GuestRam, Vm, layout};
use monocore_spec::{DeviceSpec, VmSpec};
use monocore_virtio::{MmioTransport, VirtioDevice};

use crate::Error;
use crate::attachments::{Attachments, ThreadKind};
use crate::boot::virtio_window;
use crate::bus::Bus;

/// Puts every device of `spec` on `bus`, in order.
pub(crate) fn add<V: Vm>(
    bus: &mut Bus,
    vm: &V,
    ram: &GuestRam,
    spec: &VmSpec,
    attachments: &mut Attachments,
) -> Result<(), Error> {
    for (index, device) in spec.devices.iter().enumerate() {
        let kind = thread_kind(device);
        let made = make(device, attachments)?;
        let (base, gsi) = virtio_window(index);
        let doorbells = (0u32..)
            .zip(made.queue_max_sizes())
            .map(|(queue, _)| doorbell(vm, Gpa(base + MmioTransport::NOTIFY_OFFSET_BYTES), queue))
            .collect::<Result<_, _>>()?;
        let line = vm.irq_line(gsi).map_err(Error::hypervisor)?;
        let setup = attachments.confinement.thread_setup(kind);
        let transport = MmioTransport::new(made, ram.clone(), line, doorbells, setup)
            .map_err(|error| Error::Device { index, kind: kind.name(), source: Box::new(error) })?;
        bus.add_virtio(transport);
    }
    debug_assert_eq!(layout::VIRTIO_MMIO_LEN, MmioTransport::LEN_BYTES);
    Ok(())
}

/// A doorbell the hypervisor rings, or else a plain event that the transport raises.
fn doorbell<V: Vm>(vm: &V, gpa: Gpa, value: u32) -> Result<Doorbell, Error> {
    let made = vm.doorbell(DoorbellAddress { gpa, value }).map_err(Error::hypervisor)?;
    match made {
        Some(doorbell) => Ok(doorbell),
        None => Event::new().map(Doorbell).map_err(Error::os("eventfd")),
    }
}

fn thread_kind(spec: &DeviceSpec) -> ThreadKind {
    match spec {
        DeviceSpec::Vsock(_) => ThreadKind::Vsock,
        DeviceSpec::Block(_) => ThreadKind::Block,
        DeviceSpec::Fs(_) => ThreadKind::Fs,
        DeviceSpec::Console(_) => ThreadKind::Console,
        DeviceSpec::Rng => ThreadKind::Rng,
    }
}

fn make(spec: &DeviceSpec, _attachments: &mut Attachments) -> Result<Box<dyn VirtioDevice>, Error> {
    Err(Error::Spec(format!("{} devices are not known yet", thread_kind(spec).name())))
}
