//! What both front ends are made of.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use monocore_spec::{BoundPort, ProxySpec};

use crate::dns::Forwarder;
use crate::engine::Engine;
use crate::host::HostAddresses;
use crate::inbound::Inbound;
use crate::policy::Policy;
use crate::publish::{Listener, PublishError};
use crate::receipt::Receipts;

/// Why a front end cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A port cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What was handed over as a published port is none.
    #[error("descriptor {fd} is no socket that is bound: {source}")]
    Bound {
        /// Its number.
        fd: i32,
        /// Why.
        source: std::io::Error,
    },
    /// This host's addresses cannot be learned, so they could not be guarded.
    #[error("list this host's addresses: {0}")]
    HostAddresses(#[source] std::io::Error),
}

/// The engine, the name server and the published ports of one guest.
#[derive(Debug)]
pub(crate) struct Parts<D> {
    pub(crate) engine: Engine,
    pub(crate) dns: Forwarder<D>,
    pub(crate) inbound: Inbound,
}

impl<D: Copy> Parts<D> {
    /// What `spec` describes; ports are bound here.
    pub(crate) fn new(
        spec: &ProxySpec,
        resolvers: &[IpAddr],
        receipts: Option<File>,
    ) -> Result<Self, ProxyError> {
        let own = HostAddresses::watch().map_err(ProxyError::HostAddresses)?;
        let listeners = spec.publish.iter().map(Listener::open).collect::<Result<_, _>>()?;
        let receipts = Receipts::new(receipts).at_most(spec.receipts_max_bytes);
        let policy = Policy::new(&spec.policy, own);
        Ok(Self {
            engine: Engine::new(policy, receipts, &spec.link, spec.limits.connections),
            dns: Forwarder::new(resolvers),
            inbound: Inbound::new(listeners),
        })
    }
}

/// The port that `socket`, bound by somebody else, is.
pub(crate) fn bound(port: BoundPort, socket: OwnedFd) -> Result<Listener, ProxyError> {
    Listener::adopt(socket, port.protocol, port.guest_port)
        .map_err(|errno| ProxyError::Bound { fd: port.fd, source: errno.into() })
}
