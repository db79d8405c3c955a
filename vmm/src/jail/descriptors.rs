//! Which inherited descriptors stay open.

use std::os::fd::RawFd;

use monocore_spec::VmSpec;

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
    spec.for_each_fd(|number| numbers.push(number));
    numbers
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
