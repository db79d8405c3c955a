//! virtio-net (VIRTIO 1.3 §5.1): a network card whose other end is an [`Endpoint`].
//!
//! One worker thread serves one pair of queues and the endpoint's descriptors. Frames are never copied here: an endpoint is
//! handed the guest's buffers, header first, and reads from them or fills them itself ([`Receiver`]).
//!
//! The guest is not trusted: a frame is whatever its buffers hold at the moment they are read, and an endpoint that must
//! judge a header copies it out first.
//!
//! System calls of the worker: `epoll_create1`, `epoll_ctl`, `epoll_wait`, `write` (eventfd), and what the endpoint
//! makes: `readv`, `writev` ([`Tap`]), `recvfrom`, `sendmsg` ([`Stream`]).

mod device;
mod endpoint;
mod features;
mod header;
mod receiver;
mod service;
mod sys;
#[cfg(test)]
mod tests;

pub use device::{Metrics, Net, NetConfig};
pub use endpoint::stream::Stream;
pub use endpoint::tap::{Tap, TapError};
pub use endpoint::{Endpoint, FIRST_TOKEN, Sent};
pub use features::Offloads;
pub use header::{HEADER_BYTES, Header, Segmentation};
pub use receiver::Receiver;
