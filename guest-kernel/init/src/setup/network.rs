//! The network interface: its addresses and routes, told to the kernel over rtnetlink in one message after the other.
//!
//! Source: rtnetlink(7), netlink(7); include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h.

use std::net::IpAddr;

use monocore_protocol::Interface;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::error::{Doing, Error};

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
/// A request that is answered, and that makes what is not there.
const REQUEST: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
/// Nobody else is on the link, so nobody is asked whether they have the address.
const IFA_F_NODAD: u8 = 2;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// A message in the making: a header, then a fixed part, then attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend(fixed);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        // Values are addresses and numbers.
        let length = u16::try_from(4 + value.len()).unwrap_or(4);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(0);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// Brings the interface up with what `interface` says.
pub(super) fn configure(interface: &Interface) -> Result<(), Error> {
    let name = interface.name.as_str();
    let index = index(name)?;
    let flags = SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).doing("configure", name)?;
    ask(&socket, &up(index, interface.mtu)).doing("bring up", name)?;
    for (address, prefix) in &interface.addresses {
        ask(&socket, &new_address(index, *address, *prefix)).doing("give an address to", name)?;
    }
    for gateway in &interface.gateways {
        ask(&socket, &default_route(index, *gateway)).doing("make a route through", gateway.to_string())?;
    }
    Ok(())
}

/// Gives the interface a further address, or takes it away. It is no error if that is so already.
pub(crate) fn set_address(name: &str, (address, prefix): (IpAddr, u8), is_wanted: bool) -> Result<(), Error> {
    let index = index(name)?;
    let flags = SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).doing("configure", name)?;
    let (request, so_already) = match is_wanted {
        true => (new_address(index, address, prefix), Errno::EXIST),
        false => (old_address(index, address, prefix), Errno::ADDRNOTAVAIL),
    };
    match ask(&socket, &request) {
        Err(errno) if errno != so_already => Err(errno).doing("change the addresses of", name),
        _ => Ok(()),
    }
}

fn index(name: &str) -> Result<u32, Error> {
    let path = format!("/sys/class/net/{name}/ifindex");
    let text = std::fs::read_to_string(path)
        .map_err(|_| Error::Refused(format!("the kernel has no network interface {name}")))?;
    text.trim().parse().map_err(|_| Error::Refused(format!("{name} has no number")))
}

fn up(index: u32, mtu: Option<u32>) -> Vec<u8> {
    let mut fixed = vec![0; 4];
    fixed.extend(index.to_ne_bytes());
    fixed.extend(IFF_UP.to_ne_bytes());
    fixed.extend(IFF_UP.to_ne_bytes());
    let message = Message::new(RTM_NEWLINK, 0, &fixed);
    match mtu {
        Some(mtu) => message.attribute(IFLA_MTU, &mtu.to_ne_bytes()).finish(),
        None => message.finish(),
    }
}

fn new_address(index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    about_address((RTM_NEWADDR, CREATE), index, address, prefix)
}

fn old_address(index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    about_address((RTM_DELADDR, 0), index, address, prefix)
}

fn about_address((kind, flags): (u16, u16), index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let mut fixed = vec![family(address), prefix, IFA_F_NODAD, 0];
    fixed.extend(index.to_ne_bytes());
    Message::new(kind, flags, &fixed).address(IFA_LOCAL, address).address(IFA_ADDRESS, address).finish()
}

fn default_route(index: u32, gateway: IpAddr) -> Vec<u8> {
    let fixed = [family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
    Message::new(RTM_NEWROUTE, CREATE, &fixed)
        .address(RTA_GATEWAY, gateway)
        .attribute(RTA_OIF, &index.to_ne_bytes())
        .finish()
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// Sends a request and reads what the kernel says to it.
fn ask(socket: &OwnedFd, request: &[u8]) -> Result<(), Errno> {
    send(socket, request, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (count, _) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    verdict(&answer[..count.min(answer.len())])
}

/// What an answer says: an error number behind the header, 0 for none.
fn verdict(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(Errno::from_raw_os_error(code.saturating_neg())),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_long_as_they_say() {
        for message in [
            up(2, Some(65520)),
            up(2, None),
            new_address(2, [10, 0, 0, 2].into(), 24),
            old_address(2, [10, 0, 0, 2].into(), 24),
            new_address(2, "fd00::2".parse().unwrap(), 64),
            default_route(2, [10, 0, 0, 1].into()),
        ] {
            let length = u32::from_ne_bytes(message[..4].try_into().unwrap());
            assert_eq!(length as usize, message.len());
            assert_eq!(message.len() % 4, 0);
        }
        // Header, family 2 of /24, flags, scope, index; then two attributes of 8 bytes.
        let address = new_address(7, [10, 0, 0, 2].into(), 24);
        assert_eq!(address[16..24], [[2, 24, 2, 0], 7u32.to_ne_bytes()].concat());
        assert_eq!(address[24..32], [[8, 0], [2, 0], [10, 0], [0, 2]].concat());
    }

    #[test]
    fn a_refusal_is_the_kernels_error() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert_eq!(verdict(&answer), Ok(()));
        answer[16..20].copy_from_slice(&(-17i32).to_ne_bytes());
        assert_eq!(verdict(&answer), Err(Errno::EXIST));
        assert_eq!(verdict(&answer[..10]), Err(Errno::BADMSG));
    }
}
