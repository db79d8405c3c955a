//! virtio-console with one port (VIRTIO 1.3 §5.3): the guest's text goes to a descriptor, and bytes of another
//! go to the guest.
//!
//! One worker thread moves the bytes straight between descriptors and guest buffers. An output that takes no
//! more holds up the guest's console and nothing else: the worker waits for it together with everything else.
//! An output whose reader is gone is written to no more. The driver is not trusted.
//!
//! System calls of the worker: `readv`, `writev`, `poll`, `epoll_create1`, `epoll_ctl`, `epoll_wait`, `write`
//! (eventfd), `read` (eventfd).

mod device;
mod input;
mod output;
mod service;
#[cfg(test)]
mod tests;

pub use device::{Console, Metrics, Resizer, Size};
