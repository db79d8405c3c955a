//! UDP: the guest's datagrams out of its frames into flows' sockets, and back.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use monocore_virtio::{Buffers, Datagram, Poller, ServiceError};
use rustix::net::{RecvFlags, recv};

use super::io::Io;
use super::link::{Payload, datagram_headers_bytes};
use super::wire::ETHERNET_BYTES;
use super::wire::emit::Unreachable;
use crate::engine::Engine;
use crate::flows::{Flows, NoFlow};
use crate::peers::PeerCall;
use crate::slab::Id;

/// Every guest's buffers have room for this much.
const LEAST_ROOM: usize = 1514;

/// No payload is longer, nor that of datagrams that come together: they are one packet in either kernel.
const LONGEST: usize = 65_535 - 8;

/// All flows the guest began, by its address.
#[derive(Debug, Default)]
pub(crate) struct Udp {
    flows: Flows<SocketAddr>,
}

impl Udp {
    /// `together`: the guest takes datagrams together that came together.
    pub(crate) fn begin(&mut self, together: bool, poller: &Poller) -> Result<(), ServiceError> {
        self.flows.receive_together(together);
        self.flows.begin(poller)
    }

    /// A datagram of the guest from `guest` to `remote`; `packet` is its beginning, for errors that quote it.
    pub(crate) fn datagram(
        &mut self,
        io: &mut Io<'_, '_>,
        (guest, remote): (SocketAddr, SocketAddr),
        payload: &Buffers<'_>,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        let ends = (guest, guest.port(), remote);
        let why = match self.flows.between(io.engine, io.poller, ends, io.now)? {
            Ok(flow) => match payload.send(&flow.socket) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Unreachable::Port,
                // Lost, as datagrams are.
                _ => return Ok(()),
            },
            Err(NoFlow::Denied) => Unreachable::Prohibited,
            Err(NoFlow::Unreachable(_)) => Unreachable::Host,
            Err(NoFlow::Exhausted) => return Ok(()),
        };
        io.link.unreachable(io.receiver, guest.is_ipv4(), why, packet)
    }

    /// Datagrams of `each` bytes, of a flow that has begun; says whether the host cut them, or has to be given one by one.
    pub(crate) fn datagrams(
        &mut self,
        io: &mut Io<'_, '_>,
        ends: (SocketAddr, SocketAddr),
        payload: &Buffers<'_>,
        each: u16,
    ) -> bool {
        let Some(flow) = self.flows.begun(ends, io.now) else { return false };
        // Lost, as datagrams are, where there is no room.
        payload
            .send_cut(each, &flow.socket)
            .map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true)
    }

    /// A member sends datagrams to the guest.
    pub(crate) fn accept(&mut self, io: &mut Io<'_, '_>, call: PeerCall) -> Result<(), ServiceError> {
        let ends = (call.guest, call.peer);
        self.flows.accept(io.engine, io.poller, ends, call.end.socket, io.now)
    }

    /// The guest takes no datagrams of a flow that a member began. Its end tells the member.
    pub(crate) fn refused(&mut self, engine: &mut Engine, ends: (SocketAddr, SocketAddr)) {
        self.flows.refuse(engine, ends);
    }

    /// A flow's socket has something.
    pub(crate) fn ready(&mut self, io: &mut Io<'_, '_>, bits: u64) -> Result<(), ServiceError> {
        let Some(id) = self.flows.by_bits(bits) else { return Ok(()) };
        if self.receive(io, id)? { Ok(()) } else { self.flows.pause(io.poller, id) }
    }

    /// The end of a turn: flows that waited for buffers, and flows that are over.
    pub(crate) fn turn(&mut self, io: &mut Io<'_, '_>) -> Result<(), ServiceError> {
        for id in self.flows.take_paused() {
            if self.receive(io, id)? {
                self.flows.resume(io.poller, id)?;
            } else {
                self.flows.pause(io.poller, id)?;
            }
        }
        self.flows.turn(io.engine, io.poller, io.now);
        Ok(())
    }

    /// The addresses of this host have changed.
    pub(crate) fn host_changed(&mut self, engine: &mut Engine) {
        self.flows.remove_host(engine);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.flows.deadline()
    }

    /// Gives the guest what has arrived, and says whether it had buffers for it.
    fn receive(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<bool, ServiceError> {
        let Some(flow) = self.flows.get(id) else { return Ok(true) };
        let headers = datagram_headers_bytes(flow.owner.is_ipv4());
        // What is longer does not fit the link.
        let longest = (ETHERNET_BYTES + usize::from(io.link.spec.mtu)).saturating_sub(headers);
        let most = if io.link.offloads.udp_to_guest { headers + LONGEST } else { headers + longest };
        let mut all = false;
        for _ in 0..flow.turn {
            if !io.receiver.take(LEAST_ROOM.min(most), most)? {
                return Ok(false);
            }
            if io.receiver.is_short() && !fits(io.receiver.payload_room(headers), &flow.socket) {
                if io.receiver.await_more()? {
                    continue;
                }
                return Ok(false);
            }
            match io.receiver.payload_room(headers).receive_datagram(&flow.socket) {
                Ok(Datagram { len_bytes: 0, .. }) if flow.is_closed() => {
                    io.receiver.put_back();
                    let refused = flow.is_unanswered().then_some((flow.owner, flow.remote));
                    self.flows.remove(io.engine, id);
                    if let Some((guest, remote)) = refused {
                        io.link.port_unreachable(io.receiver, guest, remote)?;
                    }
                    return Ok(true);
                }
                Ok(Datagram { len_bytes, is_whole: true, cut_bytes })
                    if cut_bytes.map_or(len_bytes, usize::from) <= longest =>
                {
                    let payload = Payload { bytes: len_bytes, segment: cut_bytes.unwrap_or(u16::MAX) };
                    io.link.datagram_around(io.receiver, flow.remote, flow.owner, payload)?;
                    flow.answered(io.now);
                }
                Ok(_) => io.receiver.put_back(),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    io.receiver.put_back();
                    io.link.port_unreachable(io.receiver, flow.owner, flow.remote)?;
                }
                Err(_) => {
                    all = true;
                    break;
                }
            }
        }
        flow.end_turn(all);
        io.receiver.put_back();
        Ok(true)
    }
}

/// Whether the next datagram, if there is one, has its room. Asked only where the guest is short of buffers: a datagram
/// that is taken too early is lost.
fn fits(room: &Buffers<'_>, socket: &OwnedFd) -> bool {
    recv(socket, &mut [0; 0], RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT)
        .map_or(true, |(_, bytes)| bytes <= room.len_bytes())
}
