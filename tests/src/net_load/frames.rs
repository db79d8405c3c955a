//! Frames no network stack would send: forged senders, fragments, lengths and checksums that are wrong, and noise.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::{Numbers, sys};

#[cfg(test)]
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
#[cfg(test)]
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Whom the frames are meant for.
const TARGETS: &[[u8; 4]] = &[
    [10, 77, 0, 1],
    [169, 254, 169, 254],
    [127, 0, 0, 1],
    [192, 168, 0, 1],
    [10, 0, 0, 1],
    [172, 16, 0, 1],
    [10, 77, 0, 2],
    [255, 255, 255, 255],
];
/// Whom they claim to come from.
const SOURCES: &[[u8; 4]] = &[[10, 77, 0, 2], [127, 0, 0, 1], [10, 77, 0, 1], [8, 8, 8, 8], [0, 0, 0, 0]];

/// Sends `rounds` frames through the first card that there is; their target port is `port`.
pub(super) fn attack(rounds: usize, port: u16) -> Result<String> {
    let card = sys::Card::open("eth0")?;
    let mut numbers = Numbers(11);
    let mut sent = 0;
    for round in 0..rounds {
        sent += usize::from(card.send(&frame(&mut numbers, round, port)));
        if round % 64 == 63 {
            // The ring is short.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(format!("{sent} frames"))
}

/// One frame, wrong in one way at least, unless it is aimed at what is guarded.
fn frame(numbers: &mut Numbers, round: usize, port: u16) -> Vec<u8> {
    let target = Ipv4Addr::from(TARGETS[numbers.below(TARGETS.len())]);
    let source = Ipv4Addr::from(SOURCES[numbers.below(SOURCES.len())]);
    let mut frame = match round % 3 {
        0 => packet(source, target, 6, &segment(port, numbers)),
        1 => packet(source, target, 17, &datagram(port)),
        _ => packet(source, target, 1, &[8, 0, 0, 0, 1, 2, 3, 4]),
    };
    match numbers.below(8) {
        // A first fragment, a later one, one that reaches past the end.
        0 => frame[20] |= 0x20,
        1 => frame[20..22].copy_from_slice(&[0x20, 1]),
        2 => frame[20..22].copy_from_slice(&[0x1f, 0xff]),
        // Lengths: of the header, of the packet, of the frame.
        3 => frame[14] = 0x40 | u8::try_from(numbers.below(16)).unwrap_or(0),
        4 => frame[16..18].copy_from_slice(&numbers.next().to_be_bytes()[..2]),
        5 => frame.truncate(14 + numbers.below(40)),
        // The checksum, then any byte.
        6 => frame[24] ^= 0xff,
        _ => {
            let at = numbers.below(frame.len());
            frame[at] = numbers.next().to_le_bytes()[0];
        }
    }
    frame
}

fn segment(port: u16, numbers: &mut Numbers) -> Vec<u8> {
    let flags = [0x02, 0x10, 0x12, 0x04, 0x01, 0x18][numbers.below(6)];
    let mut segment = vec![0x30, 0x39];
    segment.extend(port.to_be_bytes());
    segment.extend(numbers.next().to_be_bytes());
    segment.extend(numbers.next().to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(b"attack");
    segment
}

fn datagram(port: u16) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39];
    datagram.extend(port.to_be_bytes());
    datagram.extend([0, 14, 0, 0]);
    datagram.extend(b"attack");
    datagram
}

/// An Ethernet frame with an IPv4 packet (RFC 791 §3.1) to the stack at the card's other end.
fn packet(source: Ipv4Addr, target: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x01, 0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x02, 0x08, 0x00];
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    frame.extend(source.octets());
    frame.extend(target.octets());
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(payload);
    if payload.len() > 8 {
        let at = 34 + if protocol == 6 { 16 } else { 6 };
        let mut all = [source.octets(), target.octets()].concat();
        all.extend([0, protocol]);
        all.extend((length - 20).to_be_bytes());
        all.extend(payload);
        let sum = checksum(&all);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// The Internet's checksum (RFC 1071 §1).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_before_it_is_damaged_is_right() {
        let frame = packet(GUEST, GATEWAY, 17, &datagram(53));
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
        let pseudo = [&frame[26..34], &[0, 17, 0, 14], &frame[34..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
