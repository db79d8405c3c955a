//! The machine control channel: requests and replies between a supervisor and the process of its machine.
//!
//! A channel is a pair of connected SOCK_SEQPACKET sockets. One end asks ([`Asker`]), the other end answers
//! ([`Answerer`]). Whoever needs both directions makes two channels: then each socket has one reader, on
//! one thread, and no reply has to be passed on to another thread.
//!
//! A packet is a version, the request's number and a postcard message, with at most [`MAX_DESCRIPTORS`]
//! descriptors attached. Each request gets exactly one reply with the same number. A request that is malformed
//! or unknown gets an error as its reply. Nothing here blocks: sockets are read and written with MSG_DONTWAIT.
//!
//! Trust: the machine's process may be taken over by its guest. So what it says is bounded, and never more
//! than an error for the supervisor.
//!
//! Design: `docs/design/processes.md`.

mod asker;
mod machine;
mod packet;
#[cfg(test)]
mod tests;

pub use asker::{Answerer, Asked, Asker, Question, Reply};
pub use machine::{DeviceCounters, InboundPeer, MachineCounters, MachineReply, MachineRequest};
pub use packet::{CHANNEL_VERSION, MAX_DESCRIPTORS, MAX_PACKET_BYTES, Malformed, decode, encode, pair};
