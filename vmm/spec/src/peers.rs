//! Groups of machines: which a machine is a member of, and the messages by which its supervisor connects it to the other
//! members.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Cidr;

/// The longest message between a machine and its supervisor, bytes.
pub const PEER_MESSAGE_MAX_BYTES: usize = 8192;

/// The groups of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersSpec {
    /// An inherited descriptor: a SOCK_SEQPACKET socket to the supervisor. The machine sends [`PeerRequest`]s and receives
    /// [`PeerReply`]s, each a packet of JSON.
    pub fd: i32,
    /// The machine's address in each group.
    pub groups: Vec<GroupAddress>,
}

/// A member's address in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupAddress {
    /// The member's own address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, bits.
    pub prefix: u8,
}

impl GroupAddress {
    /// Whether `address` is in the group's subnet. The member's own address is, too.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        Cidr { address: self.address.into(), prefix: self.prefix }.contains(address.into())
    }
}

/// What a machine asks its supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerRequest {
    /// A link to the member at `peer`. The reply is [`PeerReply::Linked`] or [`PeerReply::Absent`].
    Link {
        /// The machine's own address in the group.
        own: Ipv4Addr,
        /// The other member's address.
        peer: Ipv4Addr,
    },
    /// The addresses of `name` in the machine's groups. The reply is [`PeerReply::Resolved`].
    Resolve {
        /// Chosen by the machine; the reply has the same.
        id: u64,
        /// In lower case, without a dot at its end.
        name: String,
    },
}

/// What a supervisor says to its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerReply {
    /// The packet carries one descriptor: a SOCK_SEQPACKET socket whose other end the member at `peer` has. It comes unasked as
    /// well, when the other member wants the link.
    Linked {
        /// The machine's own address in the group.
        own: Ipv4Addr,
        /// The other member's address.
        peer: Ipv4Addr,
    },
    /// No member runs at this address.
    Absent {
        /// The address asked for.
        peer: Ipv4Addr,
    },
    /// The member at this address has left the group: links to it are cut.
    Gone {
        /// The address that it had.
        peer: Ipv4Addr,
    },
    /// The machine's address in each group, from here on. Links from an address that is not among
    /// them are cut.
    Groups {
        /// All of them.
        groups: Vec<GroupAddress>,
    },
    /// The addresses of a name.
    Resolved {
        /// As in the request.
        id: u64,
        /// The addresses of the members that have the name and run. `None` where no member has the name.
        addresses: Option<Vec<Ipv4Addr>>,
    },
}
