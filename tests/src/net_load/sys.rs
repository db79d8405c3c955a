//! A card's frames as they are, which no safe interface offers.
#![allow(unsafe_code, reason = "packet sockets and their addresses")]
#![allow(clippy::cast_possible_truncation, reason = "lengths and families of C structures")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// A network card, open for frames.
pub(super) struct Card(OwnedFd);

impl Card {
    /// The card of this name.
    pub(super) fn open(name: &str) -> Result<Self> {
        let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))
            .with_context(|| format!("there is no {name}"))?;
        // SAFETY: takes numbers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("open a packet socket");
        }
        // SAFETY: a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index.trim().parse().context("its number")?;
        let length = size_of_val(&address) as u32;
        // SAFETY: `address` is a whole `sockaddr_ll`, valid for the call.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error()).context("bind to the card");
        }
        Ok(Self(socket))
    }

    /// Sends a frame; says whether the card took it.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        rustix::net::send(&self.0, frame, rustix::net::SendFlags::empty()).is_ok()
    }
}
