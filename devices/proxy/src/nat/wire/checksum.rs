//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

use monocore_virtio::Buffers;

/// A sum in the making; 16-bit words in network order, carries not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even place of what is summed.
    pub(crate) fn add(mut self, bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(2);
        for word in &mut words {
            self.0 += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        self
    }

    /// Adds the pseudo-header of `protocol` over `from` to `to` (RFC 9293 §3.1, RFC 8200 §8.1).
    pub(crate) fn add_pseudo_header(self, from: IpAddr, to: IpAddr, protocol: u8, len_bytes: usize) -> Self {
        let sum = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => self.add(&from.octets()).add(&to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => self.add(&from.octets()).add(&to.octets()),
            _ => self,
        };
        Self(sum.0 + u64::from(protocol) + len_bytes as u64)
    }

    /// Adds `len_bytes` of guest memory from `offset_bytes` on, an even place of what is summed.
    pub(crate) fn add_buffers(
        mut self,
        buffers: &Buffers<'_>,
        offset_bytes: usize,
        len_bytes: usize,
    ) -> Self {
        let mut chunk = [0; 1024];
        let mut done = 0;
        while done < len_bytes {
            let wanted = chunk.len().min(len_bytes - done);
            let count = buffers.copy_to(offset_bytes + done, &mut chunk[..wanted]);
            if count == 0 {
                break;
            }
            self = self.add(&chunk[..count]);
            done += count;
        }
        self
    }

    /// The sum, carries folded in.
    pub(crate) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::try_from(sum).unwrap_or(u16::MAX)
    }

    /// The checksum: the complement of the sum.
    pub(crate) fn checksum(self) -> u16 {
        !self.folded()
    }
}
