//! Which inherited descriptors stay open.

use std::os::fd::RawFd;

use monocore_spec::{
    BlockBackend, DeviceSpec, FileRef, NatSpec, Network, Sink, TapRef, TapSpec, VmSpec, VsockBackend,
};

use super::JailError;
use crate::sys;

/// Closes every descriptor but the standard streams and those in `keep`.
///
/// # Errors
/// [`JailError::Descriptors`].
pub fn close_others(keep: &[RawFd]) -> Result<(), JailError> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.extend([0, 1, 2]);
    keep.sort_unstable();
    keep.dedup();
    let mut first = 0;
    for kept in keep {
        close_range(first, kept.checked_sub(1))?;
        first = kept.saturating_add(1);
    }
    close_range(first, Some(u32::MAX))
}

/// Closes `first` to `last`; nothing where that is empty.
fn close_range(first: u32, last: Option<u32>) -> Result<(), JailError> {
    match last {
        Some(last) if first <= last => sys::close_range(first, last).map_err(JailError::Descriptors),
        _ => Ok(()),
    }
}

/// The numbers of all descriptors `spec` names.
pub fn named_descriptors(spec: &VmSpec) -> Vec<RawFd> {
    let mut numbers = Vec::new();
    let mut file = |file: &FileRef| {
        if let FileRef::Fd(number) = file {
            numbers.push(*number);
        }
    };
    file(&spec.kernel.image);
    spec.kernel.initrd.iter().for_each(&mut file);
    for device in &spec.devices {
        match device {
            DeviceSpec::Block(block) => match &block.backend {
                BlockBackend::Concat { parts } => {
                    parts.iter().filter_map(|p| p.file.as_ref()).for_each(&mut file)
                }
                BlockBackend::Raw { file: disk, .. } => file(disk),
            },
            DeviceSpec::Fs(fs) => fs.shares.iter().for_each(|share| file(&share.source)),
            DeviceSpec::Vsock(_) | DeviceSpec::Console(_) | DeviceSpec::Rng => {}
        }
    }
    for device in &spec.devices {
        match device {
            DeviceSpec::Vsock(vsock) => {
                if let VsockBackend::Handoff { fd } = vsock.backend {
                    numbers.push(fd);
                }
            }
            DeviceSpec::Console(console) => {
                numbers.extend(sink(&console.output));
                numbers.extend(console.input);
            }
            DeviceSpec::Block(_) | DeviceSpec::Fs(_) | DeviceSpec::Rng => {}
        }
    }
    match &spec.network {
        Network::Nat(NatSpec { proxy, .. }) | Network::Tsi(proxy) => {
            numbers.extend(sink(&proxy.receipts));
            numbers.extend(proxy.bound.iter().map(|port| port.fd));
            numbers.extend(proxy.peers.iter().map(|peers| peers.fd));
        }
        Network::Tap(TapSpec { interface: TapRef::Fd(number), .. }) => numbers.push(*number),
        Network::Passt(passt) => numbers.push(passt.fd),
        Network::None | Network::Tap(_) => {}
    }
    numbers.extend(spec.control);
    numbers.extend(sink(&spec.serial));
    numbers.extend(sink(&spec.timeline));
    numbers
}

fn sink(sink: &Sink) -> Option<RawFd> {
    match sink {
        Sink::Fd(number) => Some(*number),
        Sink::Discard | Sink::Path(_) => None,
    }
}

/// Closes inherited descriptors once the machine has duplicates of them; the standard streams stay.
///
/// # Errors
/// [`JailError::Descriptors`].
pub fn close_named(numbers: &[RawFd]) -> Result<(), JailError> {
    for number in numbers.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2) {
        close_range(number, Some(number))?;
    }
    Ok(())
}
