//! The operating system's side: tap interfaces.

pub(crate) mod tap;
