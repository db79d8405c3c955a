//! A name server that knows a few names.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// Serves port 53 of `address` over UDP: every name of `known` has its IPv4 address, others have none.
///
/// # Errors
/// The port cannot be had.
pub fn name_server(address: Ipv4Addr, known: &'static [(&'static str, [u8; 4])]) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 53))?;
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let Some(answer) = answer(&bytes[..count], known) else { continue };
            // Lost, where nobody waits for it.
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(())
}

/// The answer to a question (RFC 1035 §4.1); nothing where it is none.
fn answer(query: &[u8], known: &[(&str, [u8; 4])]) -> Option<Vec<u8>> {
    let (mut at, mut name) = (12, Vec::new());
    loop {
        match usize::from(*query.get(at)?) {
            0 => break,
            length => name.push(std::str::from_utf8(query.get(at + 1..=at + length)?).ok()?),
        }
        at += 1 + name.last()?.len();
    }
    let mut answer = query.get(..at + 5)?.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0; 6]);
    let name = name.join(".");
    let found = known.iter().find(|(known, _)| *known == name && query[at + 2] == 1);
    if let Some((_, address)) = found {
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address);
    }
    Some(answer)
}
