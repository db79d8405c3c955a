//! Who a socket is and with whom it speaks, before, while and after it does.

use rustix::io::Errno;
use rustix::net::{Shutdown, bind, connect, shutdown};

use super::check::Checks;
use super::ends::{RESETS, Target, own_name, peer_name, take_exactly, until, write_all};

pub(super) fn run(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.tcp()?;
    c.is("a new socket's own", own_name(&stream)?, target.any(0));
    c.fails("a new socket's peer", peer_name(&stream), "ENOTCONN");
    bind(&stream, &target.any(0))?;
    let bound = own_name(&stream)?;
    c.holds("bound anywhere, it has a port", bound.port() != 0 && bound.ip() == target.any(0).ip());
    connect(&stream, &target.at(0))?;
    let own = own_name(&stream)?;
    c.is("connected, the port stays", own.port() == bound.port(), true);
    c.holds("connected, it has an address", !own.ip().is_unspecified());
    c.is("connected, its peer", peer_name(&stream)?, target.at(0));
    write_all(&stream, b"echo\nx")?;
    take_exactly(&stream, 1)?;
    c.is("nothing changes in use", own_name(&stream)?, own);
    shutdown(&stream, Shutdown::Write)?;
    c.is("its name after its end", own_name(&stream)?, own);

    let asks = target.stream("who")?;
    let (seen, own) = (super::ends::read_to_end(&asks)?, own_name(&asks)?);
    let seen = String::from_utf8_lossy(&seen).into_owned();
    c.is("the peer sees the address", seen == own.to_string(), true);

    let reset = target.tcp()?;
    connect(&reset, &target.at(RESETS))?;
    let own = own_name(&reset)?;
    until(&reset, "IN|OUT|ERR|HUP|RDHUP")?;
    c.fails("no peer after a reset", peer_name(&reset), "ENOTCONN");
    c.is("its name after a reset", own_name(&reset)?.port() == own.port(), true);

    let datagrams = target.udp()?;
    c.is("a new datagram socket's own", own_name(&datagrams)?, target.any(0));
    c.fails("a new datagram socket's peer", peer_name(&datagrams), "ENOTCONN");
    rustix::net::sendto(&datagrams, b"nothing", rustix::net::SendFlags::empty(), &target.at(0))?;
    c.holds("having sent, it has a port", own_name(&datagrams)?.port() != 0);
    c.holds("having sent, it has no address", own_name(&datagrams)?.ip().is_unspecified());
    connect(&datagrams, &target.at(0))?;
    c.is("a connected datagram socket's peer", peer_name(&datagrams)?, target.at(0));
    c.holds("a connected datagram socket's own", !own_name(&datagrams)?.ip().is_unspecified());
    Ok(())
}
