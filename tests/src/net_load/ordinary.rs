//! What an ordinary user may do with a network, and a server of datagrams.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket, sockopt};

/// Says `ready`, then sends each datagram of `port` back to where it came from.
pub(super) fn echo(port: u16) -> Result<String> {
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    std::io::stdout().write_all(b"ready\n")?;
    std::io::stdout().flush()?;
    let mut bytes = vec![0; 65_536];
    loop {
        let (count, from) = socket.recv_from(&mut bytes)?;
        socket.send_to(&bytes[..count], from)?;
    }
}

/// Whether this user may listen below port 1024, and ping.
pub(super) fn rights() -> String {
    let says = |worked: Result<()>| if worked.is_ok() { "yes" } else { "no" };
    let tcp = || -> Result<()> {
        let listener = TcpListener::bind("0.0.0.0:80")?;
        TcpStream::connect("127.0.0.1:80")?;
        listener.accept()?;
        Ok(())
    };
    let tcp6 = || Ok(TcpListener::bind("[::]:443").map(drop)?);
    let udp = || Ok(UdpSocket::bind("0.0.0.0:53").map(drop)?);
    format!("tcp {}, tcp6 {}, udp {}, ping {}", says(tcp()), says(tcp6()), says(udp()), says(ping()))
}

/// Sends an echo request to loopback and waits for the answer.
fn ping() -> Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(5)))?;
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    sendto(&socket, &[8, 0, 0, 0, 0, 0, 0, 1, b'x'], SendFlags::empty(), &to)?;
    let mut bytes = [0; 64];
    let (count, _) = recv(&socket, &mut bytes[..], RecvFlags::empty())?;
    if count != 9 || bytes[0] != 0 {
        bail!("no echo reply");
    }
    Ok(())
}
