//! A packet's header (VIRTIO 1.3 §5.10.6, `struct virtio_vsock_hdr`), little-endian, 44 bytes:
//!
//! ```text
//!  0 src_cid   8 dst_cid   16 src_port  20 dst_port  24 len  28 type  30 op  32 flags  36 buf_alloc  40 fwd_cnt
//! ```

/// Length of a header, in bytes.
pub(crate) const HEADER_BYTES: usize = 44;
/// The host's context id (§5.10.4).
pub(crate) const HOST_CID: u64 = 2;
/// VIRTIO_VSOCK_TYPE_STREAM.
pub(crate) const TYPE_STREAM: u16 = 1;
/// VIRTIO_VSOCK_TYPE_SEQPACKET, served at a front's port only.
pub(crate) const TYPE_SEQPACKET: u16 = 2;
/// In the flags of a packet with bytes of a message: they are its last (VIRTIO_VSOCK_SEQ_EOM, §5.10.6.6.1).
pub(crate) const END_OF_MESSAGE: u32 = 1;
/// In a SHUTDOWN's flags: its sender receives no more (§5.10.6.5).
pub(crate) const SHUT_RECEIVE: u32 = 1;
/// In a SHUTDOWN's flags: its sender sends no more.
pub(crate) const SHUT_SEND: u32 = 2;
/// Both.
pub(crate) const SHUT_BOTH: u32 = SHUT_RECEIVE | SHUT_SEND;
/// In the flags of a credit update of a front's stream: its sender is about to ask for a [`Op::Read`].
pub(crate) const HOLD: u32 = 1;

/// What a packet is for (§5.10.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Asks for a connection.
    Request = 1,
    /// Accepts one.
    Response = 2,
    /// Refuses or ends one.
    Reset = 3,
    /// No more will be sent, or received, or both.
    Shutdown = 4,
    /// Carries bytes.
    ReadWrite = 5,
    /// Tells how much room there is.
    CreditUpdate = 6,
    /// Asks how much room there is.
    CreditRequest = 7,
    /// At a front's port only, no part of the specification: asks for the chain to be filled with the next bytes of the stream;
    /// flags are how many came in packets so far. Bytes that are there at once are in the chain when it is given back; else the
    /// answer is such a packet, whose flags say how many there are.
    Read = 64,
    /// As above: a chain that waits for bytes is given back as it is, and bytes come in packets again.
    Cancel = 65,
}

impl Op {
    fn from_wire(op: u16) -> Option<Self> {
        [
            Self::Request,
            Self::Response,
            Self::Reset,
            Self::Shutdown,
            Self::ReadWrite,
            Self::CreditUpdate,
            Self::CreditRequest,
            Self::Read,
            Self::Cancel,
        ]
        .into_iter()
        .find(|known| *known as u16 == op)
    }
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Context id of the sender.
    pub src_cid: u64,
    /// Context id of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Length of what follows the header, in bytes.
    pub len: u32,
    /// Kind of socket: 1 a stream, 2 messages.
    pub kind: u16,
    /// What the packet is for; nothing where the number is unknown.
    pub op: Option<Op>,
    /// By operation; of a shutdown: 1 receives no more, 2 sends no more; of bytes of a message: 1 the last of it.
    pub flags: u32,
    /// Room the sender has for the connection in all, in bytes.
    pub buf_alloc: u32,
    /// Bytes the sender has taken out of that room so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header; every byte sequence is one.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = &bytes[..];
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: Op::from_wire(u16::from_le_bytes(take(&mut rest))),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// The header as it travels; an unknown operation is 0.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = &mut bytes[..];
        put(&mut rest, &self.src_cid.to_le_bytes());
        put(&mut rest, &self.dst_cid.to_le_bytes());
        put(&mut rest, &self.src_port.to_le_bytes());
        put(&mut rest, &self.dst_port.to_le_bytes());
        put(&mut rest, &self.len.to_le_bytes());
        put(&mut rest, &self.kind.to_le_bytes());
        put(&mut rest, &self.op.map_or(0, |op| op as u16).to_le_bytes());
        put(&mut rest, &self.flags.to_le_bytes());
        put(&mut rest, &self.buf_alloc.to_le_bytes());
        put(&mut rest, &self.fwd_cnt.to_le_bytes());
        bytes
    }
}

/// The next `N` bytes; zeroes where there are none, which a whole header never meets.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let Some((head, tail)) = rest.split_first_chunk() else { return [0; N] };
    *rest = tail;
    *head
}

fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    let (head, tail) = std::mem::take(rest).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *rest = tail;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_lie_where_the_specification_puts_them() {
        let header = Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: 0x0102_0304,
            dst_port: 1024,
            len: 5,
            kind: TYPE_STREAM,
            op: Some(Op::CreditUpdate),
            flags: 7,
            buf_alloc: 8,
            fwd_cnt: 9,
        };
        let bytes = header.to_bytes();
        assert_eq!((bytes[0], bytes[8], &bytes[16..20]), (3, 2, &[4, 3, 2, 1][..]));
        assert_eq!((bytes[20..22].to_vec(), bytes[24], bytes[28], bytes[30]), (vec![0, 4], 5, 1, 6));
        assert_eq!((bytes[32], bytes[36], bytes[40]), (7, 8, 9));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_that_travels_back(bytes in proptest::array::uniform32(any::<u8>()), tail in proptest::array::uniform12(any::<u8>())) {
            let mut whole = [0; HEADER_BYTES];
            whole[..32].copy_from_slice(&bytes);
            whole[32..].copy_from_slice(&tail);
            let header = Header::parse(&whole);
            if header.op.is_none() {
                whole[30..32].fill(0);
            }
            prop_assert_eq!(header.to_bytes(), whole);
        }
    }
}
