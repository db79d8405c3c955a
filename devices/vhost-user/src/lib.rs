//! Runs a [`VirtioDevice`](monocore_virtio::VirtioDevice) as a vhost-user backend: QEMU and Cloud Hypervisor can
//! use our devices, and no KVM is needed to try them on a real driver.
//!
//! The thread that calls [`Server::serve`] speaks the protocol, with one front end at a time; the device runs on
//! its own thread as ever. The device has all its queues or none: it starts when the last of them is set up and
//! enabled, and stops as soon as anything about one of them changes. A front end that goes away leaves the device
//! as it was before it came, for the next one.
//!
//! The front end owns the guest's memory and is trusted with it; addresses it names are checked all the same.
//!
//! Source: vhost-user protocol (QEMU, docs/interop/vhost-user.rst); the messages are those of crate `vhost`.

mod backend;
mod early;
mod interrupt;
mod memory;
mod server;
#[cfg(test)]
mod tests;
mod vring;

pub use server::{ServeError, Server};
