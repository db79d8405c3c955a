//! The boot mark where there are no I/O ports: none.

use rustix::io::Errno;

/// Always refused.
pub(crate) fn mark(_port: u16) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
