//! Frames as bytes: what the guest's say, and ours put together.
//!
//! Parsing works on a copy of a frame's beginning, long enough for all headers; payload is only ever a range of the guest's
//! buffers. Whatever does not add up is `None`: the frame is dropped.

pub(crate) mod checksum;
pub(crate) mod emit;
pub(crate) mod ip;
pub(crate) mod tcp;
pub(crate) mod udp;

/// How much of a frame is copied: Ethernet, IPv4 with options and TCP with options have 134 bytes, an ARP frame 42, a
/// neighbour solicitation with options about 90.
pub(crate) const HEAD_BYTES: usize = 192;

/// Length of an Ethernet header.
pub(crate) const ETHERNET_BYTES: usize = 14;
pub(crate) const TYPE_IPV4: u16 = 0x0800;
pub(crate) const TYPE_ARP: u16 = 0x0806;
pub(crate) const TYPE_IPV6: u16 = 0x86dd;

/// The beginning of a frame, and its whole length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// At most [`HEAD_BYTES`].
    pub(crate) bytes: &'a [u8],
    pub(crate) frame_bytes: usize,
}

impl Head<'_> {
    /// The Ethernet type and the sender's address.
    pub(crate) fn ethernet(&self) -> Option<(u16, [u8; 6])> {
        let source = self.bytes.get(6..12)?.try_into().ok()?;
        Some((word(self.bytes, 12)?, source))
    }
}

/// The big-endian 16 bits at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The big-endian 32 bits at `at`.
pub(crate) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
