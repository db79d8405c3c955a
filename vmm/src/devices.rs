//! Devices from their specifications, each behind its window.

mod make;
mod starter;

use std::sync::Arc;

use monocore_hypervisor::{Doorbell, DoorbellAddress, Event, Gpa, GuestRam, Vm};
use monocore_virtio::MmioTransport;

use crate::Error;
use crate::attachments::Attachments;
use crate::boot::virtio_window;
use crate::bus::Bus;
use make::Made;
pub(crate) use make::make_all;
use starter::StartedElsewhere;
pub(crate) use starter::{StartQueue, Starter};

/// Puts every device of `spec` on `bus`, in order.
///
/// # Errors
/// [`Error`], naming the device.
pub(crate) fn add<V: Vm>(
    bus: &mut Bus,
    vm: &V,
    ram: &GuestRam,
    devices: Vec<Made>,
    attachments: &Attachments,
    starter: &Starter,
) -> Result<(), Error> {
    let confinement = Arc::clone(&attachments.confinement);
    for (index, (kind, mut device)) in devices.into_iter().enumerate() {
        if confinement.starts_on_waiting_thread() {
            let starter = starter.try_clone().map_err(Error::os("eventfd"))?;
            device = Box::new(StartedElsewhere::new(device, starter));
        }
        let (base, gsi) = virtio_window(index);
        let doorbells = (0u32..)
            .zip(device.queue_max_sizes())
            .map(|(queue, _)| doorbell(vm, Gpa(base + MmioTransport::NOTIFY_OFFSET_BYTES), queue))
            .collect::<Result<_, _>>()?;
        let line = vm.irq_line(gsi).map_err(Error::hypervisor)?;
        let transport =
            MmioTransport::new(device, ram.clone(), line, doorbells, confinement.thread_setup(kind))
                .map_err(|error| Error::Device { index, kind: kind.name(), source: Box::new(error) })?;
        bus.add_virtio(transport);
    }
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

/// Windows on the bus are as long as the transport's registers.
const _: () = assert!(monocore_hypervisor::layout::VIRTIO_MMIO_LEN == MmioTransport::LEN_BYTES);
