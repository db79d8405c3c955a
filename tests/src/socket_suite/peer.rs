//! The other end: it does what the first line of a connection, or a datagram, asks for.
//!
//! From its first port on: requests by TCP and UDP; nobody; one that resets and one that closes whoever connects; one whose
//! queue is full, so that nobody is answered.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{self, set_socket_linger};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use super::ends::{CLOSES, RESETS, SILENT};
use super::sys;

/// How long the peer waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// How connections ended, by the name that was given for them.
#[derive(Default)]
struct Ends {
    known: Mutex<HashMap<String, String>>,
    news: Condvar,
}

/// What requests need.
#[derive(Clone)]
struct Peer {
    ends: Arc<Ends>,
    /// Where the program that asks can be connected to, IPv4 and IPv6.
    back: [IpAddr; 2],
}

/// Serves `address` from `port` on, in threads of its own; `back` is where whoever asks can be connected to.
///
/// # Errors
/// A port cannot be listened at.
pub fn serve(address: IpAddr, port: u16, back: [IpAddr; 2]) -> io::Result<()> {
    let peer = Peer { ends: Arc::default(), back };
    let at = |offset| SocketAddr::new(address, port + offset);
    let datagrams = UdpSocket::from(bound(SocketType::DGRAM, at(0))?);
    let (requests, asked) = (listener(at(0), 1024)?, peer.clone());
    thread::spawn(move || {
        requests.incoming().flatten().for_each(|stream| {
            let peer = asked.clone();
            // A connection that breaks is what some requests are about.
            thread::spawn(move || drop(peer.request(stream)));
        });
    });
    thread::spawn(move || answer_datagrams(&datagrams));
    let resets = listener(at(RESETS), 64)?;
    thread::spawn(move || {
        resets.incoming().flatten().for_each(|stream| {
            // Whoever connects is told that first, also where guests share an emulated processor.
            thread::sleep(Duration::from_millis(250));
            reset(stream);
        });
    });
    let closes = listener(at(CLOSES), 64)?;
    thread::spawn(move || closes.incoming().flatten().for_each(drop));
    never_answer(at(SILENT))
}

/// A bound socket; the address may be one that only a route leads here.
fn bound(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

fn listener(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = bound(SocketType::STREAM, address)?;
    listen(&socket, backlog)?;
    Ok(socket.into())
}

/// A listener with a full queue: further attempts are dropped.
fn never_answer(address: SocketAddr) -> io::Result<()> {
    let listener = listener(address, 0)?;
    let first = TcpStream::connect(address)?;
    thread::spawn(move || {
        let _kept = (listener, first);
        loop {
            thread::park();
        }
    });
    Ok(())
}

/// Closes a connection with a reset.
fn reset(stream: TcpStream) {
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
}

impl Ends {
    fn note(&self, name: &str, how: String) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), how);
        self.news.notify_all();
    }

    fn of(&self, name: &str) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut known, _) = self
            .news
            .wait_timeout_while(known, PATIENCE, |known| !known.contains_key(name))
            .unwrap_or_else(PoisonError::into_inner);
        known.remove(name).unwrap_or_else(|| "nothing".to_owned())
    }

    /// Reads to the end and notes what that was.
    fn watch(&self, name: &str, mut stream: impl Read) {
        let (mut bytes, mut count) = ([0; 65_536], 0);
        let how = loop {
            match stream.read(&mut bytes) {
                Ok(0) => break format!("end after {count}"),
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    break format!("reset after {count}");
                }
                Err(error) => break format!("{:?} after {count}", error.kind()),
            }
        };
        self.note(name, how);
    }
}

impl Peer {
    fn request(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE * 3))?;
        let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["echo"] => echo(&mut reader, &mut stream)?,
            ["send", count] => send_pattern(&mut stream, number(count))?,
            ["watch", name] => self.ends.watch(name, reader),
            ["ending", name] => stream.write_all(self.ends.of(name).as_bytes())?,
            ["who"] => write!(stream, "{}", stream.peer_addr()?)?,
            ["reset-after", count] => {
                io::copy(&mut reader.by_ref().take(number(count)), &mut io::sink())?;
                reset(stream);
            }
            ["send-and-reset", count] => send_and_reset(&mut reader, stream, number(count))?,
            ["close-first", name] => {
                stream.shutdown(Shutdown::Write)?;
                self.ends.watch(name, reader);
            }
            ["say-and-close-first", name] => {
                stream.write_all(b"bye")?;
                stream.shutdown(Shutdown::Write)?;
                self.ends.watch(name, reader);
            }
            ["say-and-watch", name] => {
                stream.write_all(b"bye")?;
                self.ends.watch(name, reader);
            }
            ["in-parts"] => {
                stream.set_nodelay(true)?;
                for part in ["one", "two", "three"] {
                    stream.write_all(part.as_bytes())?;
                    thread::sleep(Duration::from_millis(60));
                }
                echo(&mut reader, &mut stream)?;
            }
            ["later", ms, text] => {
                thread::sleep(Duration::from_millis(number(ms)));
                stream.write_all(text.as_bytes())?;
                echo(&mut reader, &mut stream)?;
            }
            ["stall", ms] => {
                // So that it is soon full.
                sockopt::set_socket_recv_buffer_size(&stream, 64 << 10)?;
                thread::sleep(Duration::from_millis(number(ms)));
                io::copy(&mut reader, &mut io::sink())?;
            }
            ["dial", family, port, what, name] => {
                let answer = self.dial(family, number(port), what, name);
                stream.write_all(answer.as_bytes())?;
            }
            ["datagram", family, port, text] => {
                let answer = self.datagram(family, number(port), text);
                stream.write_all(answer.unwrap_or_else(|error| format!("{:?}", error.kind())).as_bytes())?;
            }
            _ => stream.write_all(b"what?")?,
        }
        Ok(())
    }

    fn back(&self, family: &str, port: u64) -> SocketAddr {
        let address = self.back[usize::from(family == "6")];
        SocketAddr::new(address, u16::try_from(port).unwrap_or(0))
    }

    /// Connects to whoever asks and does `what`; says how connecting went.
    fn dial(&self, family: &str, port: u64, what: &str, name: &str) -> String {
        let mut stream = match TcpStream::connect_timeout(&self.back(family, port), PATIENCE) {
            Ok(stream) => stream,
            Err(error) => return format!("{:?}", error.kind()),
        };
        let (peer, what, name) = (self.clone(), what.to_owned(), name.to_owned());
        thread::spawn(move || -> io::Result<()> {
            stream.set_read_timeout(Some(PATIENCE * 3))?;
            match &what[..] {
                "hello" => {
                    stream.write_all(b"hello")?;
                    let mut reader = stream.try_clone()?;
                    echo(&mut reader, &mut stream)?;
                }
                "close-first" => {
                    stream.write_all(b"bye")?;
                    stream.shutdown(Shutdown::Write)?;
                    peer.ends.watch(&name, stream);
                }
                "reset" => {
                    stream.write_all(b"hello")?;
                    // The other end says when it has it.
                    stream.read_exact(&mut [0])?;
                    reset(stream);
                }
                _ => peer.ends.watch(&name, stream),
            }
            Ok(())
        });
        "ok".to_owned()
    }

    /// Sends a datagram to whoever asks; gives the answer to it and the port it came from.
    fn datagram(&self, family: &str, port: u64, text: &str) -> io::Result<String> {
        let to = self.back(family, port);
        let socket = UdpSocket::bind((to.ip(), 0))?;
        socket.set_read_timeout(Some(PATIENCE / 2))?;
        socket.send_to(text.as_bytes(), to)?;
        let mut bytes = [0; 2048];
        let (count, from) = socket.recv_from(&mut bytes)?;
        Ok(format!("{} from {}", String::from_utf8_lossy(&bytes[..count]), from.port()))
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn echo(reader: &mut impl Read, stream: &mut TcpStream) -> io::Result<()> {
    io::copy(reader, stream)?;
    stream.shutdown(Shutdown::Write)
}

/// The bytes both ends know: the `at`th one of a stream.
pub(super) fn pattern(at: u64) -> u8 {
    u8::try_from(at % 251).unwrap_or(0)
}

fn send_pattern(stream: &mut TcpStream, count: u64) -> io::Result<()> {
    // A whole number of rounds of the pattern.
    let block: Vec<u8> = (0..251 * 256).map(pattern).collect();
    let mut left = count;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Sends so much, waits for an answer, and resets.
fn send_and_reset(reader: &mut impl Read, mut stream: TcpStream, count: u64) -> io::Result<()> {
    send_pattern(&mut stream, count)?;
    reader.read_exact(&mut [0])?;
    reset(stream);
    Ok(())
}

/// Datagrams: `other` is answered from another port, `size N` with N bytes, `several N EACH` with N bytes
/// in datagrams of EACH that are sent at once, `twice` twice, `nothing` not at all, `who` with
/// the sender's address; everything else comes back.
fn answer_datagrams(socket: &UdpSocket) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let Ok((count, from)) = socket.recv_from(&mut bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes[..count.min(64)]).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        // What is not sent is lost, as datagrams are.
        let _ = match words[..] {
            ["nothing"] => Ok(0),
            ["who"] => socket.send_to(from.to_string().as_bytes(), from),
            ["size", count] => {
                let count = usize::try_from(number(count)).unwrap_or(0).min(65_507);
                socket.send_to(&vec![b'.'; count], from)
            }
            ["several", count, each] => {
                let bytes: Vec<u8> = (0..number(count).min(65_507)).map(pattern).collect();
                let each = i32::try_from(number(each)).unwrap_or(0);
                let _ = sys::set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, each);
                let sent = socket.send_to(&bytes, from);
                let _ = sys::set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0);
                sent
            }
            ["twice"] => socket.send_to(b"first", from).and_then(|_| socket.send_to(b"second", from)),
            ["other"] => socket
                .local_addr()
                .and_then(|own| bound(SocketType::DGRAM, SocketAddr::new(own.ip(), 0)))
                .and_then(|other| UdpSocket::from(other).send_to(b"from elsewhere", from)),
            _ => socket.send_to(&bytes[..count], from),
        };
    }
}
