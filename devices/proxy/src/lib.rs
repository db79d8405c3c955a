//! Sockets out of and into a guest: one engine decides, whichever way the guest's packets or connections come.
//!
//! [`Engine`] is the policy, the names that were resolved, and the receipts. It has two front ends: [`Nat`], a user-mode network
//! stack at the other end of a network card, and [`Tsi`], which carries the guest's own sockets over its socket device.
//!
//! Design decisions: `docs/design/network.md`.
//!
//! Everything runs on the worker thread of the device in front. Nobody outside is trusted: packets, questions and
//! answers are hostile bytes, copied once, checked in the copy, and dropped where they make no sense.

mod dns;
mod engine;
mod flows;
pub mod hello;
mod host;
mod inbound;
mod names;
mod nat;
mod parts;
mod peers;
mod policy;
mod ports;
mod publish;
mod receipt;
mod slab;
mod sockets;
mod sys;
#[cfg(test)]
mod testing;
mod token;
pub mod tsi;

pub use dns::message;
pub use dns::resolvers::host_resolvers;
pub use engine::{Beginning, Engine, Route};
pub use host::HostAddresses;
pub use nat::Nat;
pub use parts::ProxyError;
pub use policy::{Class, Decision, Policy, Question, Reason};
pub use ports::PortsHandle;
pub use receipt::{Receipt, Receipts, Subject};
pub use tsi::Tsi;
