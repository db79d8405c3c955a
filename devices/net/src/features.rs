//! What is offered to the driver (VIRTIO 1.3 §5.1.3).

use monocore_virtio::features::RING_FEATURES;

pub(crate) const F_CSUM: u64 = 1 << 0;
pub(crate) const F_GUEST_CSUM: u64 = 1 << 1;
pub(crate) const F_MTU: u64 = 1 << 3;
pub(crate) const F_MAC: u64 = 1 << 5;
pub(crate) const F_GUEST_TSO4: u64 = 1 << 7;
pub(crate) const F_GUEST_TSO6: u64 = 1 << 8;
pub(crate) const F_HOST_TSO4: u64 = 1 << 11;
pub(crate) const F_HOST_TSO6: u64 = 1 << 12;
pub(crate) const F_MRG_RXBUF: u64 = 1 << 15;
pub(crate) const F_GUEST_USO4: u64 = 1 << 54;
pub(crate) const F_GUEST_USO6: u64 = 1 << 55;
pub(crate) const F_HOST_USO: u64 = 1 << 56;

/// What one side takes over from the other: what an endpoint can do, and what it was agreed that it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The endpoint takes frames whose checksum is still to be made.
    pub checksum_from_guest: bool,
    /// The guest takes such frames.
    pub checksum_to_guest: bool,
    /// The endpoint takes TCP frames still to be cut.
    pub tcp_from_guest: bool,
    /// The guest takes such frames, over IPv4 and IPv6.
    pub tcp_to_guest: (bool, bool),
    /// The endpoint takes UDP frames still to be cut.
    pub udp_from_guest: bool,
    /// The guest takes such frames.
    pub udp_to_guest: bool,
}

impl Offloads {
    /// Nothing: every frame is complete.
    pub const NONE: Self = Self {
        checksum_from_guest: false,
        checksum_to_guest: false,
        tcp_from_guest: false,
        tcp_to_guest: (false, false),
        udp_from_guest: false,
        udp_to_guest: false,
    };

    /// The feature bits that offer this.
    pub(crate) fn offer(self) -> u64 {
        let bit = |wanted: bool, bits: u64| if wanted { bits } else { 0 };
        RING_FEATURES
            | F_MAC
            | F_MTU
            | F_MRG_RXBUF
            | bit(self.checksum_from_guest, F_CSUM)
            | bit(self.checksum_to_guest, F_GUEST_CSUM)
            | bit(self.tcp_from_guest, F_HOST_TSO4 | F_HOST_TSO6)
            | bit(self.tcp_to_guest.0, F_GUEST_TSO4)
            | bit(self.tcp_to_guest.1, F_GUEST_TSO6)
            | bit(self.udp_from_guest, F_HOST_USO)
            | bit(self.udp_to_guest, F_GUEST_USO4 | F_GUEST_USO6)
    }

    /// What the driver acknowledged with `features`; what depends on a bit it left out does not count (§5.1.3.1).
    pub(crate) fn agreed(features: u64) -> Self {
        let has = |bits: u64| features & bits == bits;
        let (from, to) = (has(F_CSUM), has(F_GUEST_CSUM));
        Self {
            checksum_from_guest: from,
            checksum_to_guest: to,
            tcp_from_guest: from && (has(F_HOST_TSO4) || has(F_HOST_TSO6)),
            tcp_to_guest: (to && has(F_GUEST_TSO4), to && has(F_GUEST_TSO6)),
            udp_from_guest: from && has(F_HOST_USO),
            udp_to_guest: to && has(F_GUEST_USO4 | F_GUEST_USO6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_agreed_unless_left_out() {
        let all = Offloads {
            checksum_from_guest: true,
            checksum_to_guest: true,
            tcp_from_guest: true,
            tcp_to_guest: (true, true),
            udp_from_guest: true,
            udp_to_guest: true,
        };
        assert_eq!(Offloads::agreed(all.offer()), all);
        assert_eq!(Offloads::agreed(Offloads::NONE.offer()), Offloads::NONE);
        assert_eq!(Offloads::agreed(all.offer() & !(F_CSUM | F_GUEST_CSUM)), Offloads::NONE);
    }
}
