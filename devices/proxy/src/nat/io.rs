//! What every part of the stack works with during a turn.

use std::time::Instant;

use monocore_net::Receiver;
use monocore_virtio::Poller;

use super::DnsClient;
use super::link::Link;
use crate::dns::Forwarder;
use crate::engine::Engine;

/// The link, the guest's buffers, and the engine.
pub(crate) struct Io<'a, 'm> {
    pub(crate) link: &'a mut Link,
    pub(crate) receiver: &'a mut Receiver<'m>,
    pub(crate) poller: &'a Poller,
    pub(crate) engine: &'a mut Engine,
    pub(crate) dns: &'a mut Forwarder<DnsClient>,
    pub(crate) now: Instant,
}
