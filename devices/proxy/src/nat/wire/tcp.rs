//! TCP segments (RFC 9293 §3.1).

use super::ip::Ip;
use super::{Head, long, word};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// The largest shift of a window (RFC 7323 §2.3).
const MAX_SCALE: u8 = 14;

/// A segment's header, and where its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source_port: u16,
    pub(crate) target_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// From its options, if it has them.
    pub(crate) max_segment: Option<u16>,
    pub(crate) scale: Option<u8>,
    /// Where its payload begins in the frame, and how long it is, bytes.
    pub(crate) payload_at: usize,
    pub(crate) payload_bytes: usize,
}

impl Segment {
    pub(crate) fn parse(head: &Head<'_>, ip: &Ip) -> Option<Self> {
        let tcp = head.bytes.get(ip.payload_at..)?;
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        if header < 20 || header > ip.payload_bytes {
            return None;
        }
        let mut segment = Self {
            source_port: word(tcp, 0)?,
            target_port: word(tcp, 2)?,
            sequence: long(tcp, 4)?,
            acknowledged: long(tcp, 8)?,
            flags: *tcp.get(13)?,
            window: word(tcp, 14)?,
            max_segment: None,
            scale: None,
            payload_at: ip.payload_at + header,
            payload_bytes: ip.payload_bytes - header,
        };
        if segment.has(SYN) {
            segment.read_options(tcp.get(20..header)?);
        }
        Some(segment)
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Options that make no sense end the list.
    fn read_options(&mut self, mut options: &[u8]) {
        while let Some((&kind, rest)) = options.split_first() {
            match kind {
                0 => return,
                1 => options = rest,
                _ => {
                    let length = usize::from(rest.first().copied().unwrap_or(0));
                    let (Some(value), Some(behind)) = (options.get(2..length), options.get(length..)) else {
                        return;
                    };
                    match (kind, value) {
                        (2, &[high, low]) => self.max_segment = Some(u16::from_be_bytes([high, low])),
                        (3, &[scale]) => self.scale = Some(scale.min(MAX_SCALE)),
                        _ => {}
                    }
                    options = behind;
                }
            }
        }
    }
}
