//! Through published ports into the guest.

use monocore_spec::Protocol;
use monocore_virtio::ServiceError;

use super::io::Io;
use super::tcp::Tcp;
use crate::inbound::{Arrival, Inbound, TURN};

/// A published port has something.
pub(super) fn ready(
    inbound: &mut Inbound,
    io: &mut Io<'_, '_>,
    bits: u64,
    tcp: &mut Tcp,
) -> Result<(), ServiceError> {
    match inbound.port(bits) {
        Some((index, Protocol::Tcp, _)) => accept(inbound, io, index, tcp),
        Some((index, Protocol::Udp, _)) => receive(inbound, io, index),
        _ => Ok(()),
    }
}

fn accept(
    inbound: &mut Inbound,
    io: &mut Io<'_, '_>,
    index: usize,
    tcp: &mut Tcp,
) -> Result<(), ServiceError> {
    for _ in 0..TURN {
        match inbound.accept(io.engine, index, io.now)? {
            Arrival::Here { guest, client, what } => tcp.accepted(io, guest, client, (what, None))?,
            Arrival::Refused => {}
            Arrival::Nothing => break,
        }
    }
    Ok(())
}

fn receive(inbound: &mut Inbound, io: &mut Io<'_, '_>, index: usize) -> Result<(), ServiceError> {
    for _ in 0..TURN {
        match inbound.receive(io.engine, index, io.now) {
            Arrival::Here { guest, client, what } => {
                io.link.datagram(io.receiver, client, guest, inbound.datagram(what))?;
            }
            Arrival::Refused => {}
            Arrival::Nothing => break,
        }
    }
    Ok(())
}
