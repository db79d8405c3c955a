//! What a supervisor asks of its machine.

use serde::{Deserialize, Serialize};

/// A request to the machine's process. New requests are added at the end: each variant's place is its number on
/// the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineRequest {
    /// Asks whether the machine answers. The reply is [`MachineReply::Done`].
    Ping,
    /// Asks what the machine and its devices counted. The reply is [`MachineReply::Counters`].
    Metrics,
    /// Keeps the guest from running and stops the devices. A paused machine stays paused.
    Pause,
    /// Lets devices and guest go on. A machine that runs goes on running.
    Resume,
    /// Adds a share to the file device. The descriptor attached is its root, a directory or a regular file.
    AddShare {
        /// Its name below the device's root.
        name: String,
        /// Writes are refused by the host.
        read_only: bool,
    },
    /// Removes a share. Nothing of it is served from the reply on.
    RemoveShare {
        /// Its name.
        name: String,
    },
    /// Hands the machine one end of a connection from a peer. The descriptor attached is a connected socket.
    InboundPeer(InboundPeer),
    /// Lets clients of this host reach a port of the guest. The descriptor attached is a socket that is bound to the address
    /// and does not block; one of TCP listens, one of UDP says where each datagram was sent to.
    AddPort {
        /// Where the socket is bound.
        address: std::net::SocketAddr,
        /// It is of UDP, not of TCP.
        is_udp: bool,
        /// The guest's port.
        guest_port: u16,
    },
    /// Closes a published port. Nobody is accepted there from the reply on; connections stay.
    RemovePort {
        /// Where it is bound.
        address: std::net::SocketAddr,
        /// It is of UDP, not of TCP.
        is_udp: bool,
    },
}

/// A connection from a peer of the machine's group. Not served yet: a machine refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundPeer {
    /// The peer's address in the group.
    pub from: std::net::SocketAddr,
    /// The port of this machine that the peer connects to.
    pub port: u16,
}

/// The reply to a [`MachineRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineReply {
    /// It is done.
    Done,
    /// It cannot be done, and why.
    Refused(String),
    /// To [`MachineRequest::Metrics`].
    Counters(MachineCounters),
}

/// What a machine counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCounters {
    /// Processor time of the machine's process, the guest's included, nanoseconds.
    pub cpu_ns: u64,
    /// Accesses that left the guest for the machine's process, by name.
    pub bus: Vec<(String, u64)>,
    /// Each device's, in the order of the specification.
    pub devices: Vec<DeviceCounters>,
}

/// What a device counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCounters {
    /// Its kind: `block`, `nat` and so on.
    pub kind: String,
    /// Names and values; units are in the names.
    pub counters: Vec<(String, u64)>,
}

impl DeviceCounters {
    /// The counter of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}
