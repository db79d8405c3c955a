//! virtio-vsock (VIRTIO 1.3 §5.10): sockets between guest and host.
//!
//! Every connection is carried by one stream socket of the host, whatever lies behind it: a socket handed to
//! another process ([`Handoff`]), a Unix socket by Firecracker's convention ([`UnixSockets`]), or a function of
//! this program ([`Handlers`]). A [`Backend`] makes and accepts those sockets; the device moves bytes.
//!
//! A [`Front`] may stand behind one port: there the guest asks for sockets of the Internet, and speaks in messages about those
//! that are no streams.
//!
//! One worker thread serves the device. Bytes go straight between sockets and guest buffers; only what a full socket does not take at once is kept,
//! once, within the credit granted to the guest. A connection that stands still holds up no other: it is not read while
//! the guest has no credit or no buffers, and what it does not take waits in its own backlog.
//!
//! The guest is not trusted: it may ask for any port (the backend decides), it cannot make the worker keep
//! more than the credit of [`Limits::connections`] connections, and packets that break the rules end their
//! connection.
//!
//! System calls of the worker: `sendmsg`, `recvmsg`, `sendto`, `shutdown`, `close`, `epoll_create1`,
//! `epoll_ctl`, `epoll_wait`, `write` (eventfd), `socketpair`. [`UnixSockets`] connect and accept; a jailed process leaves
//! that to a [`Broker`].

mod backend;
mod channels;
mod connection;
mod credit;
mod device;
mod direct;
mod fate;
mod front;
mod inbound;
mod outbound;
mod packet;
mod run;
mod service;
mod session;
#[cfg(test)]
mod tests;
mod throttle;

pub use backend::broker::{Broker, Brokered, broker};
pub use backend::handlers::{Dialer, Handlers};
pub use backend::handoff::{Handoff, HandoffKind, HandoffMessage};
pub use backend::unix::UnixSockets;
pub use backend::{Accepted, Backend, Request};
pub use device::{Limits, Metrics, Vsock};
pub use fate::Fate;
pub use front::{
    Channel, Channels, Dialed, FIRST_FRONT_TOKEN, FRAME_BYTES, Front, Inspection, MAX_PAYLOAD_BYTES, Message,
    Payload, Received, Sent,
};
pub use packet::{Header, Op};
