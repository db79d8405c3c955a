//! The operating system's side of this crate: guest buffers as I/O vectors, and readiness of descriptors.

pub(crate) mod buffers;
pub(crate) mod datagram;
pub(crate) mod epoll;
