//! What is asked of a guest's network: kinds of load, and how both sides go about them.
//!
//! The guest's program dials the host. Its first connection carries one line for each load, and a line back when it is done; the
//! load itself goes over connections of its own. Payload is neither made nor looked at, so that both programs cost little.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is given to a single `read` or `write`: iperf3's default.
const BLOCK_BYTES: usize = 128 << 10;

/// Nothing that is under way waits longer for the guest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A load, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So many bytes to the host, over one connection.
    Send(u32),
    /// So many bytes from the host, over one connection.
    Receive(u32),
    /// One byte there and one back, so many times over one connection.
    Requests(u32),
    /// So many connections, one after the other, one byte there, closed by the host.
    Connections(u32),
}

impl Load {
    /// How many bytes, requests or connections.
    pub fn count(self) -> u32 {
        match self {
            Self::Send(count) | Self::Receive(count) | Self::Requests(count) | Self::Connections(count) => {
                count
            }
        }
    }

    /// One `part`-th of it.
    pub fn shortened(self, part: u32) -> Self {
        match self {
            Self::Send(count) => Self::Send(count / part),
            Self::Receive(count) => Self::Receive(count / part),
            Self::Requests(count) => Self::Requests(count / part),
            Self::Connections(count) => Self::Connections(count / part),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Send(_) => "send",
            Self::Receive(_) => "receive",
            Self::Requests(_) => "requests",
            Self::Connections(_) => "connections",
        };
        write!(f, "{name} {}", self.count())
    }
}

impl FromStr for Load {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let unknown = || io::Error::new(ErrorKind::InvalidData, format!("no load: {text:?}"));
        let (name, count) = text.trim().split_once(' ').ok_or_else(unknown)?;
        let count = count.parse().map_err(|_| unknown())?;
        match name {
            "send" => Ok(Self::Send(count)),
            "receive" => Ok(Self::Receive(count)),
            "requests" => Ok(Self::Requests(count)),
            "connections" => Ok(Self::Connections(count)),
            _ => Err(unknown()),
        }
    }
}

/// The guest's side: does what `host` asks for until it hangs up.
///
/// # Errors
/// The network's.
pub fn serve(host: SocketAddr) -> io::Result<()> {
    let mut orders = BufReader::new(dial(host)?);
    let mut line = String::new();
    while orders.read_line(&mut line)? > 0 {
        carry(host, line.parse()?)?;
        orders.get_mut().write_all(b"done\n")?;
        line.clear();
    }
    Ok(())
}

fn carry(host: SocketAddr, load: Load) -> io::Result<()> {
    match load {
        Load::Send(bytes) => {
            let mut stream = dial(host)?;
            send(&mut stream, bytes)?;
            stream.shutdown(Shutdown::Write)?;
            // The host's end of stream says that it has all of it.
            receive(&mut stream).map(drop)
        }
        Load::Receive(bytes) => expect(receive(&mut dial(host)?)?, bytes),
        Load::Requests(count) => {
            let mut stream = dial(host)?;
            for _ in 0..count {
                stream.write_all(&[1])?;
                stream.read_exact(&mut [0])?;
            }
            Ok(())
        }
        Load::Connections(count) => {
            for _ in 0..count {
                let mut stream = dial(host)?;
                stream.write_all(&[1])?;
                // Not into a block that would have to be cleared first: that is dearer than a connection's share of a network.
                expect(stream.read(&mut [0])? as u64, 0)?;
            }
            Ok(())
        }
    }
}

/// The side of a guest that another one dials: has it carry what `host` asks for, until `host` hangs up.
///
/// # Errors
/// The network's.
pub fn serve_between(host: SocketAddr, listener: TcpListener) -> io::Result<()> {
    let mut orders = BufReader::new(dial(host)?);
    let mut guest = Guest::accept(listener)?;
    let mut line = String::new();
    while orders.read_line(&mut line)? > 0 {
        guest.carry(line.parse()?)?;
        orders.get_mut().write_all(b"done\n")?;
        line.clear();
    }
    Ok(())
}

/// The host's side: a guest that has dialled.
pub struct Guest {
    listener: TcpListener,
    orders: BufReader<TcpStream>,
    /// The loads go between it and another guest, not to this program.
    is_between: bool,
}

impl Guest {
    /// Takes the guest's first connection.
    ///
    /// # Errors
    /// The network's.
    pub fn accept(listener: TcpListener) -> io::Result<Self> {
        let stream = accept(&listener)?;
        Ok(Self { listener, orders: BufReader::new(stream), is_between: false })
    }

    /// Takes the first connection of a guest that another one dials ([`serve_between`]).
    ///
    /// # Errors
    /// The network's.
    pub fn accept_between(listener: TcpListener) -> io::Result<Self> {
        Ok(Self { is_between: true, ..Self::accept(listener)? })
    }

    /// Has the guest carry `load`, to its end.
    ///
    /// # Errors
    /// The network's, or bytes are missing.
    pub fn carry(&mut self, load: Load) -> io::Result<()> {
        self.orders.get_mut().write_all(format!("{load}\n").as_bytes())?;
        match load {
            _ if self.is_between => {}
            Load::Send(bytes) => expect(receive(&mut self.accepted()?)?, bytes)?,
            Load::Receive(bytes) => send(&mut self.accepted()?, bytes)?,
            Load::Requests(count) => {
                let mut stream = self.accepted()?;
                for _ in 0..count {
                    stream.read_exact(&mut [0])?;
                    stream.write_all(&[1])?;
                }
            }
            Load::Connections(count) => {
                for _ in 0..count {
                    self.accepted()?.read_exact(&mut [0])?;
                }
            }
        }
        let mut line = String::new();
        self.orders.read_line(&mut line)?;
        if line == "done\n" { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn accepted(&self) -> io::Result<TcpStream> {
        let mut waited =
            [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(self.orders.get_ref(), PollFlags::IN)];
        poll(&mut waited, Some(&Timespec::try_from(LONGEST_WAIT).map_err(io::Error::other)?))?;
        if !waited[0].revents().contains(PollFlags::IN) {
            // It says nothing before a load is carried: it is gone, or stuck.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        accept(&self.listener)
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LONGEST_WAIT))?;
    stream.set_write_timeout(Some(LONGEST_WAIT))?;
    Ok(stream)
}

fn dial(host: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, bytes: u32) -> io::Result<()> {
    let block = vec![1; BLOCK_BYTES];
    let mut left = bytes as usize;
    while left > 0 {
        left -= stream.write(&block[..left.min(BLOCK_BYTES)])?;
    }
    Ok(())
}

/// Reads to the end of the stream and says how much there was.
fn receive(stream: &mut TcpStream) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut total = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

fn expect(got: u64, wanted: u32) -> io::Result<()> {
    if got == u64::from(wanted) {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{got} bytes came of {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_is_carried_between_two() {
        let [host, between] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [at_host, at_between] = [&host, &between].map(|listener| listener.local_addr().unwrap());
        let far = std::thread::spawn(move || serve_between(at_host, between));
        let guest = std::thread::spawn(move || serve(at_between));
        let mut host = Guest::accept_between(host).unwrap();
        for load in [Load::Send(300_000), Load::Receive(300_000), Load::Requests(7), Load::Connections(7)] {
            host.carry(load).unwrap();
        }
        drop(host);
        far.join().unwrap().unwrap();
        guest.join().unwrap().unwrap();
    }

    #[test]
    fn every_load_is_carried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let guest = std::thread::spawn(move || serve(address));
        let mut host = Guest::accept(listener).unwrap();
        for load in [Load::Send(300_000), Load::Receive(300_000), Load::Requests(7), Load::Connections(7)] {
            assert_eq!(load.to_string().parse::<Load>().unwrap(), load);
            host.carry(load).unwrap();
        }
        drop(host);
        guest.join().unwrap().unwrap();
        assert!("send".parse::<Load>().is_err() && "swallow 3".parse::<Load>().is_err());
    }
}
