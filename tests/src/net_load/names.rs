//! Questions to a name server, as resolvers put them (RFC 1035 §4, RFC 6891 §6.1).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 53;
/// What a question over UDP with EDNS says it has room for.
const ROOM: u16 = 4096;

/// What an answer says.
pub(super) struct Answer {
    code: u8,
    truncated: bool,
    bytes: usize,
    pub(super) addresses: Vec<Ipv4Addr>,
}

/// Asks for the IPv4 addresses of `name`: `udp`, `edns` for UDP with more room, or `tcp`.
pub(super) fn ask(server: IpAddr, name: &str, way: &str) -> Result<String> {
    let answer = question(server, name, way)?;
    let Answer { code, truncated, bytes, addresses } = answer;
    Ok(format!(
        "code {code}, {} addresses{}{}",
        addresses.len(),
        if truncated { ", truncated" } else { "" },
        if bytes > 512 { ", long" } else { "" },
    ))
}

pub(super) fn question(server: IpAddr, name: &str, way: &str) -> Result<Answer> {
    let mut query = vec![0x4d, 0x6f, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(way == "edns")];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).context("a label")?);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let end = query.len();
    if way == "edns" {
        query.extend([0, 0, 41]);
        query.extend(ROOM.to_be_bytes());
        query.extend([0; 6]);
    }
    let bytes = match way {
        "tcp" => by_stream(server, &query)?,
        _ => by_datagram(server, &query)?,
    };
    read(&bytes, end)
}

fn by_datagram(server: IpAddr, query: &[u8]) -> Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server, PORT))?;
    socket.send(query)?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    let count = socket.recv(&mut bytes).context("wait for the answer")?;
    bytes.truncate(count);
    Ok(bytes)
}

fn by_stream(server: IpAddr, query: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((server, PORT)).context("connect to the name server")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&u16::try_from(query.len())?.to_be_bytes())?;
    stream.write_all(query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("wait for the answer")?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads an answer whose question ends at `at`; its records name that by a pointer, as our test's server writes them.
fn read(bytes: &[u8], mut at: usize) -> Result<Answer> {
    if bytes.get(..2) != Some(&[0x4d, 0x6f]) || bytes.len() < at {
        bail!("this answers another question");
    }
    let count = usize::from(u16::from_be_bytes([bytes[6], bytes[7]]));
    let mut addresses = Vec::new();
    for _ in 0..count {
        let record = bytes.get(at..at + 16).context("a record")?;
        if record[..4] != [0xc0, 12, 0, 1] {
            bail!("an unexpected record");
        }
        addresses.push(Ipv4Addr::new(record[12], record[13], record[14], record[15]));
        at += 16;
    }
    Ok(Answer { code: bytes[3] & 15, truncated: bytes[2] & 2 != 0, bytes: bytes.len(), addresses })
}
