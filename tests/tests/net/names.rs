//! Names: long answers by datagram and by stream, answers that are cut, and a real tool that asks for them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use monocore_tests::world::Ran;

use crate::ground::{self, Mode};

in_each_mode!(long_answers_come_whole_or_are_cut);

/// What a server says to a question for a name: its addresses, and for how many seconds they hold.
type Answer = Box<dyn FnMut(&str) -> (Vec<Ipv4Addr>, u32) + Send>;

/// A name server.
pub(crate) struct Server {
    /// Questions by datagram and by stream.
    pub(crate) datagrams: Arc<AtomicUsize>,
    pub(crate) streams: Arc<AtomicUsize>,
}

/// Serves port 53 of `address`; a datagram has room for 512 bytes, or for as many as the question says (RFC 6891 §6.2.3).
pub(crate) fn serve(address: Ipv4Addr, answer: Answer) -> Server {
    let at = SocketAddr::from((address, 53));
    let answer = Arc::new(Mutex::new(answer));
    let (socket, listener) = (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap());
    let server = Server { datagrams: Arc::default(), streams: Arc::default() };
    let (count, by_datagram) = (Arc::clone(&server.datagrams), Arc::clone(&answer));
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            count.fetch_add(1, Ordering::SeqCst);
            let query = &bytes[..length];
            let mut reply = reply(query, &mut by_datagram.lock().unwrap());
            if reply.len() > room(query) {
                reply.truncate(question_end(query));
                reply[2] |= 2;
                reply[6..12].fill(0);
            }
            socket.send_to(&reply, from).unwrap();
        }
    });
    let count = Arc::clone(&server.streams);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let reply = reply(&query, &mut answer.lock().unwrap());
                stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&reply).unwrap();
            }
        }
    });
    server
}

/// Where the question ends.
fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 5
}

/// What the one who asks has room for.
fn room(query: &[u8]) -> usize {
    let end = question_end(query);
    match query.get(end..end + 5) {
        Some(&[0, 0, 41, high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 512,
    }
}

fn reply(query: &[u8], answer: &mut Answer) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).into_owned());
        at += 1 + length;
    }
    let is_v4 = query[at + 2] == 1;
    let (addresses, ttl) = answer(&labels.join("."));
    let mut reply = query[..question_end(query)].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..12].fill(0);
    if is_v4 {
        reply[6..8].copy_from_slice(&u16::try_from(addresses.len()).unwrap().to_be_bytes());
        for address in addresses {
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(ttl.to_be_bytes());
            reply.extend([0, 4]);
            reply.extend(address.octets());
        }
    }
    reply
}

fn long_answers_come_whole_or_are_cut(mode: Mode) {
    let address = Ipv4Addr::new(127, 0, 0, 70 + u8::try_from(mode.number()).unwrap());
    let server = serve(
        address,
        Box::new(|name| {
            let count = if name.starts_with("large") { 200 } else { 1 };
            ((1..=count).map(|last| Ipv4Addr::new(93, 184, 216, last)).collect(), 60)
        }),
    );
    let address = address.to_string();
    let script = "for way in udp edns tcp; do for name in small.example large.example; do \
                  net-load ask 10.77.0.1 $name $way; done; done; net-load ask fd4d:6f6e:6f00::1 large.example tcp";
    let ran = Ran::from(ground::run(mode, &["--dns", &address], &["sh", "-c", script]).output().unwrap());
    let expected = "code 0, 1 addresses\n\
                    code 0, 0 addresses, truncated\n\
                    code 0, 1 addresses\n\
                    code 0, 200 addresses, long\n\
                    code 0, 1 addresses\n\
                    code 0, 200 addresses, long\n\
                    code 0, 200 addresses, long\n";
    assert_eq!(ran.out(), expected);
    // Each question is passed on by the way it came.
    assert_eq!((server.datagrams.load(Ordering::SeqCst), server.streams.load(Ordering::SeqCst)), (4, 3));
}
