//! Devices from their specifications, each behind its window.

mod make;
mod network;
mod starter;

use std::sync::Arc;

use monocore_hypervisor::{BusAddress, Doorbell, DoorbellAddress, Event, Gpa, GuestRam, Vm, layout};
use monocore_spec::Kicks;
use monocore_virtio::MmioTransport;

use crate::Error;
use crate::attachments::{Attachments, StartsOn};
use crate::boot::virtio_window;
use crate::bus::Bus;
pub(crate) use make::{Made, make_all};
pub(crate) use starter::StartQueue;
use starter::StartedElsewhere;
pub use starter::Starter;

/// Puts every device of `devices` on `bus`, in order, with doorbells where a kernel that kicks by `kicks` rings them.
///
/// # Errors
/// [`Error`], naming the device.
pub(crate) fn add<V: Vm>(
    bus: &mut Bus,
    vm: &V,
    ram: &GuestRam,
    kicks: Kicks,
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
        let port = match kicks {
            Kicks::Register => None,
            Kicks::Port => layout::virtio_port(index),
        };
        let notify = BusAddress::Memory(Gpa(base + MmioTransport::NOTIFY_OFFSET_BYTES));
        let register = port.map_or(notify, BusAddress::Port);
        let doorbells = (0u16..)
            .zip(device.queue_max_sizes())
            .map(|(queue, _)| doorbell(vm, DoorbellAddress { register, value: queue.into() }))
            .collect::<Result<_, _>>()?;
        let line = vm.irq_line(gsi).map_err(Error::hypervisor)?;
        let transport = MmioTransport::new(device, ram.clone(), line, doorbells, port, setup)
            .map_err(|error| Error::Device { index, kind: kind.name(), source: Box::new(error) })?;
        bus.add_virtio(transport);
    }
    Ok(())
}

/// A doorbell the hypervisor rings, or else a plain event that the transport raises.
fn doorbell<V: Vm>(vm: &V, address: DoorbellAddress) -> Result<Doorbell, Error> {
    let made = vm.doorbell(address).map_err(Error::hypervisor)?;
    match made {
        Some(doorbell) => Ok(doorbell),
        None => Event::new().map(Doorbell).map_err(Error::os("eventfd")),
    }
}

/// Windows on the bus are as long as the transport's registers.
const _: () = assert!(layout::VIRTIO_MMIO_LEN == MmioTransport::LEN_BYTES);
