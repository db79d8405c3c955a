//! The header before every frame (VIRTIO 1.3 §5.1.6, `struct virtio_net_hdr`).

/// Its length, bytes; `num_buffers` is always there for a device of version 1.
pub const HEADER_BYTES: usize = 12;

const F_NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// How a frame longer than the link takes is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP, into datagrams.
    Udp,
}

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The checksum of what begins at byte `.0` of the frame is to be put at byte `.0 + .1`; what is there now is the sum
    /// of the pseudo-header.
    pub checksum: Option<(u16, u16)>,
    /// The frame is to be cut into segments of this kind with so many bytes of payload each.
    pub segments: Option<(Segmentation, u16)>,
    /// Length of all headers of the frame together, a hint; bytes.
    pub headers_bytes: u16,
}

impl Header {
    /// The bytes of a header in front of a frame that lies in `buffers` buffers.
    pub fn to_bytes(self, buffers: u16) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        if let Some((kind, size)) = self.segments {
            bytes[1] = match kind {
                Segmentation::TcpV4 => GSO_TCPV4,
                Segmentation::TcpV6 => GSO_TCPV6,
                Segmentation::Udp => GSO_UDP_L4,
            };
            bytes[2..4].copy_from_slice(&self.headers_bytes.to_le_bytes());
            bytes[4..6].copy_from_slice(&size.to_le_bytes());
        }
        if let Some((start, offset)) = self.checksum {
            bytes[0] = F_NEEDS_CSUM;
            bytes[6..8].copy_from_slice(&start.to_le_bytes());
            bytes[8..10].copy_from_slice(&offset.to_le_bytes());
        }
        bytes[10..].copy_from_slice(&buffers.to_le_bytes());
        bytes
    }

    /// What the header of a frame from the guest says; a kind of segmentation that is none of ours is `None`.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let kind = match bytes[1] & !GSO_ECN {
            0 => None,
            GSO_TCPV4 => Some(Segmentation::TcpV4),
            GSO_TCPV6 => Some(Segmentation::TcpV6),
            GSO_UDP_L4 => Some(Segmentation::Udp),
            _ => return None,
        };
        Some(Self {
            checksum: (bytes[0] & F_NEEDS_CSUM != 0).then(|| (word(6), word(8))),
            segments: kind.map(|kind| (kind, word(4))),
            headers_bytes: word(2),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_trip() {
        let header = Header {
            checksum: Some((34, 16)),
            segments: Some((Segmentation::TcpV6, 1440)),
            headers_bytes: 74,
        };
        let bytes = header.to_bytes(3);
        assert_eq!(bytes, [1, 4, 74, 0, 0xa0, 5, 34, 0, 16, 0, 3, 0]);
        assert_eq!(Header::parse(&bytes), Some(header));
        assert_eq!(Header::default().to_bytes(1), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let mut unknown = bytes;
        unknown[1] = 3;
        assert_eq!(Header::parse(&unknown), None);
    }
}
