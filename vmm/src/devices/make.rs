//! One device from its specification.

use monocore_blk::{Block, Concat, Disk, DiskError, Part, Raw};
use monocore_rng::Rng;
use monocore_spec::{BlockBackend, DeviceSpec, VmSpec};
use monocore_virtio::VirtioDevice;

use crate::attachments::{Attachments, ThreadKind};
use crate::{Error, files};

/// A device and the kind of thread it runs on.
pub(crate) type Made = (ThreadKind, Box<dyn VirtioDevice>);

/// Makes every device of `spec`, in order.
///
/// # Errors
/// [`Error`], naming the device or its file.
pub(crate) fn make_all(spec: &VmSpec, attachments: &mut Attachments) -> Result<Vec<Made>, Error> {
    let mut devices = Vec::with_capacity(spec.devices.len());
    for (index, device) in spec.devices.iter().enumerate() {
        devices.push((ThreadKind::of(device), make(index, device, attachments)?));
    }
    Ok(devices)
}

fn make(
    index: usize,
    spec: &DeviceSpec,
    _attachments: &mut Attachments,
) -> Result<Box<dyn VirtioDevice>, Error> {
    let kind = ThreadKind::of(spec).name();
    match spec {
        DeviceSpec::Block(block) => {
            let fail = |error: DiskError| Error::Device { index, kind, source: Box::new(error) };
            let disk = disk(&block.backend, fail)?;
            Block::new(disk, &block.serial).map(boxed).map_err(fail)
        }
        DeviceSpec::Rng => Ok(Box::new(Rng::new())),
        _ => Err(Error::Spec(format!("{kind} devices are not known yet"))),
    }
}

fn boxed<D: VirtioDevice + 'static>(device: D) -> Box<dyn VirtioDevice> {
    Box::new(device)
}

fn disk(backend: &BlockBackend, fail: impl Fn(DiskError) -> Error) -> Result<Disk, Error> {
    match backend {
        BlockBackend::Concat { parts } => {
            let mut opened = Vec::with_capacity(parts.len());
            for part in parts {
                let file = part.file.as_ref().map(files::open).transpose()?;
                opened.push(Part { file, offset_bytes: part.offset_bytes, len_bytes: part.len_bytes });
            }
            Ok(Concat::new(opened).map_err(fail)?.into())
        }
        BlockBackend::Raw { file, read_only } => {
            let file = if *read_only { files::open(file)? } else { files::open_writable(file)? };
            Ok(Raw::new(file, *read_only).map_err(fail)?.into())
        }
    }
}
