//! One device from its specification.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use monocore_balloon::Balloon;
use monocore_blk::{Block, Concat, Disk, Part, Raw};
use monocore_console::Console;
use monocore_fs::{CachePolicy, Fs, FsConfig, FsHandle, FsShare, ServerConfig};
use monocore_proxy::PortsHandle;
use monocore_rng::Rng;
use monocore_spec::{BlockBackend, DeviceSpec, FsSpec, VmSpec, VsockBackend};
use monocore_virtio::{Counters, VirtioDevice};
use monocore_vsock::{Backend as VsockConnections, Handoff, UnixSockets, Vsock};

use super::network;
use crate::attachments::{Attachments, ThreadKind};
use crate::{Error, files};

/// A device and the kind of thread it runs on.
pub(crate) struct Made {
    pub(crate) kind: ThreadKind,
    pub(crate) device: Box<dyn VirtioDevice>,
    /// The way to its shares, if it has any.
    pub(crate) shares: Option<FsHandle>,
    /// The way to its published ports, if it has any.
    pub(crate) ports: Option<PortsHandle>,
    pub(crate) counters: Option<Arc<dyn Counters>>,
}

/// Makes every device of `spec`, in order.
///
/// # Errors
/// [`Error`], naming the device or its file.
pub(crate) fn make_all(spec: &VmSpec, attachments: &mut Attachments) -> Result<Vec<Made>, Error> {
    spec.devices.iter().enumerate().map(|(index, device)| make(index, device, attachments)).collect()
}

fn make(index: usize, spec: &DeviceSpec, attachments: &mut Attachments) -> Result<Made, Error> {
    let kind = ThreadKind::of(spec);
    let fail = Fail { index, kind: kind.name() };
    let (mut shares, mut ports) = (None, None);
    let device: Box<dyn VirtioDevice> = match spec {
        DeviceSpec::Vsock(vsock) => {
            let backend = connections(&vsock.backend, attachments, &fail)?;
            let mut device = Vsock::new(vsock.guest_cid, backend, network::limits(vsock.carries.as_ref()));
            if let Some(proxy) = &vsock.carries {
                let (carrier, published) = network::carry(device, proxy, &fail)?;
                (device, ports) = (carrier, Some(published));
            }
            Box::new(device)
        }
        DeviceSpec::Block(block) => {
            let disk = disk(&block.backend, &fail)?;
            Box::new(Block::new(disk, &block.serial).map_err(|e| fail.because(e))?)
        }
        DeviceSpec::Fs(fs) => {
            let fs = Fs::new(fs_config(fs)?).map_err(|e| fail.because(e))?;
            shares = Some(fs.handle());
            Box::new(fs)
        }
        DeviceSpec::Rng => Box::new(Rng::new()),
        DeviceSpec::Balloon => Box::new(Balloon::new()),
        DeviceSpec::Net(net) => {
            let (card, published) = network::card(net, &fail)?;
            ports = published;
            Box::new(card)
        }
        DeviceSpec::Console(console) => {
            let output = files::open_sink(&console.output)?.map(OwnedFd::from);
            let input = console.input.map(files::descriptor).transpose()?;
            let size = monocore_console::Size { columns: 80, rows: 24 };
            Box::new(Console::new(output, input, size).map_err(|e| fail.because(e))?)
        }
    };
    let counters = device.counters();
    Ok(Made { kind, device, shares, ports, counters })
}

/// Names a device in an error.
pub(super) struct Fail {
    pub(super) index: usize,
    pub(super) kind: &'static str,
}

impl Fail {
    pub(super) fn because(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Device { index: self.index, kind: self.kind, source: Box::new(source) }
    }
}

fn connections(
    backend: &VsockBackend,
    attachments: &mut Attachments,
    fail: &Fail,
) -> Result<Box<dyn VsockConnections>, Error> {
    match backend {
        VsockBackend::Handoff { fd } => Ok(Box::new(Handoff::new(files::descriptor(*fd)?))),
        VsockBackend::Unix { path } => Ok(Box::new(UnixSockets::bind(path).map_err(|e| fail.because(e))?)),
        VsockBackend::Attached => {
            let missing = || Error::Spec("a socket device whose connections nothing is attached to".into());
            attachments.vsock.take().ok_or_else(missing)
        }
    }
}

fn fs_config(spec: &FsSpec) -> Result<FsConfig, Error> {
    let mut shares = Vec::with_capacity(spec.shares.len());
    for share in &spec.shares {
        shares.push(FsShare {
            name: share.name.clone(),
            root: files::open(&share.source)?.into(),
            read_only: share.read_only,
            cache: CachePolicy::default(),
        });
    }
    Ok(FsConfig {
        tag: spec.tag.clone(),
        request_queues: 1,
        shares,
        server: ServerConfig::for_this_process(),
    })
}

fn disk(backend: &BlockBackend, fail: &Fail) -> Result<Disk, Error> {
    match backend {
        BlockBackend::Concat { parts } => {
            let mut opened = Vec::with_capacity(parts.len());
            for part in parts {
                let file = part.file.as_ref().map(files::open).transpose()?;
                opened.push(Part { file, offset_bytes: part.offset_bytes, len_bytes: part.len_bytes });
            }
            Ok(Concat::new(opened).map_err(|e| fail.because(e))?.into())
        }
        BlockBackend::Raw { file, read_only } => {
            let file = if *read_only { files::open(file)? } else { files::open_writable(file)? };
            Ok(Raw::new(file, *read_only).map_err(|e| fail.because(e))?.into())
        }
    }
}
