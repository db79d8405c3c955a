//! Capabilities: none, but for a file server that acts for root.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

use super::JailError;

/// What the file device needs to serve a directory as root would: owners, modes and other users' files.
const FILE_SERVER: &[Capability] = &[
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
];

/// Drops all capabilities of the calling thread, except those of a file server where `keep_fs` says so and it has them.
///
/// # Errors
/// [`JailError::Capabilities`].
pub(super) fn drop_all(keep_fs: bool) -> Result<(), JailError> {
    let fail = |error: caps::errors::CapsError| JailError::Capabilities(io::Error::other(error.to_string()));
    let has = caps::read(None, CapSet::Permitted).map_err(fail)?;
    if has.is_empty() {
        return Ok(());
    }
    let kept: CapsHashSet = FILE_SERVER.iter().copied().filter(|cap| keep_fs && has.contains(cap)).collect();
    caps::set(None, CapSet::Effective, &kept).map_err(fail)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(fail)?;
    caps::clear(None, CapSet::Inheritable).map_err(fail)
}
