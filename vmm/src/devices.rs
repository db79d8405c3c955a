//! Devices from their specifications, each behind its window.

mod make;
mod network;
mod starter;

use std::sync::Arc;

use monocore_hypervisor::{Doorbell, DoorbellAddress, Event, Gpa, GuestRam, Vm};
use monocore_virtio::MmioTransport;

use crate::Error;
use crate::attachments::{Attachments, StartsOn};
use crate::boot::virtio_window;
use crate::bus::Bus;
pub(crate) use make::{Made, make_all};
pub(crate) use starter::StartQueue;
use starter::StartedElsewhere;
pub use starter::Starter;

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
    for (index, Made { kind, mut device, shares, .. }) in devices.into_iter().enumerate() {
        let elsewhere = match confinement.starts_on(kind) {
            StartsOn::AnyThread => None,
            StartsOn::WaitingThread => Some(starter.clone()),
            StartsOn::KeptThread(starter) => Some(starter),
        };
        if let Some(starter) = elsewhere {
            device = Box::new(StartedElsewhere::new(device, starter));
        }
        let setup = match &shares {
            Some(shares) => confinement.fs_setup(shares),
            None => confinement.thread_setup(kind),
        };
        let (base, gsi) = virtio_window(index);
        let doorbells = (0u32..)
            .zip(device.queue_max_sizes())
            .map(|(queue, _)| doorbell(vm, Gpa(base + MmioTransport::NOTIFY_OFFSET_BYTES), queue))
            .collect::<Result<_, _>>()?;
        let line = vm.irq_line(gsi).map_err(Error::hypervisor)?;
        let transport = MmioTransport::new(device, ram.clone(), line, doorbells, setup)
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
