//! The published ports of one guest, which come and go while the worker serves them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monocore_spec::Protocol;
use monocore_virtio::{Interest, Poller};

use crate::publish::Listener;
use crate::token::{TOKEN_LISTENER, raw_token};

/// Ports that one guest can have had in its life: each has a number of its own.
const MAX_PORTS: usize = 1 << 16;
/// Ports at a time that were added later: each is a descriptor.
const MAX_ADDED: usize = 256;

/// A port and whether the poller watches it.
#[derive(Debug)]
struct Slot {
    listener: Arc<Listener>,
    watched: bool,
}

/// All ports by number. One that was removed leaves its place empty, so that a number never means another port.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    first_added: usize,
    /// Nothing while the device is not started.
    poller: Option<Poller>,
}

/// The ports, shared by the worker and whoever adds and removes some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ports(Arc<Mutex<Table>>);

/// Adds and removes published ports of a running machine. Clones act on the same ports, from any thread.
#[derive(Clone, Debug)]
pub struct PortsHandle(Ports);

impl Ports {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        let ports = Self::default();
        listeners.into_iter().for_each(|listener| ports.push(listener));
        ports
    }

    pub(crate) fn handle(&self) -> PortsHandle {
        PortsHandle(self.clone())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, before the device starts.
    pub(crate) fn push(&self, listener: Listener) {
        let mut table = self.table();
        table.slots.push(Some(Slot { listener: Arc::new(listener), watched: false }));
        table.first_added = table.slots.len();
    }

    /// The port of this number.
    pub(crate) fn get(&self, index: usize) -> Option<Arc<Listener>> {
        self.table().slots.get(index)?.as_ref().map(|slot| Arc::clone(&slot.listener))
    }

    /// Where ports are bound on this host, and where they lead.
    pub(crate) fn published(&self) -> Vec<(SocketAddr, u16)> {
        let table = self.table();
        let slots = table.slots.iter().flatten();
        slots.map(|slot| (slot.listener.address, slot.listener.guest_port)).collect()
    }

    /// Watches every port in a new poller, and from now on those that are added.
    pub(crate) fn begin(&self, poller: &Poller) -> io::Result<()> {
        let mut table = self.table();
        table.poller = Some(poller.clone());
        for index in 0..table.slots.len() {
            if let Some(Some(slot)) = table.slots.get_mut(index) {
                slot.watched = false;
            }
            table.watch(index, true)?;
        }
        Ok(())
    }

    /// Watches port number `index` for clients, or leaves it alone.
    pub(crate) fn watch(&self, index: usize, watched: bool) -> io::Result<()> {
        self.table().watch(index, watched)
    }
}

impl Table {
    fn watch(&mut self, index: usize, watched: bool) -> io::Result<()> {
        let (Some(Some(slot)), Some(poller)) = (self.slots.get_mut(index), &self.poller) else {
            return Ok(());
        };
        match (std::mem::replace(&mut slot.watched, watched), watched) {
            (false, true) => {
                poller.add(&slot.listener.socket, raw_token(TOKEN_LISTENER, index as u64), Interest::Read)
            }
            (true, false) => poller.remove(&slot.listener.socket),
            _ => Ok(()),
        }
    }
}

impl PortsHandle {
    /// Lets clients of `socket` reach the guest's port. It is bound to `address` and does not block; one of TCP listens,
    /// one of UDP says where each datagram was sent to. No other system call than `epoll_ctl` is made.
    ///
    /// # Errors
    /// There are too many ports, or the operating system's.
    pub fn add(
        &self,
        socket: OwnedFd,
        address: SocketAddr,
        protocol: Protocol,
        guest_port: u16,
    ) -> io::Result<()> {
        let mut table = self.0.table();
        let index = table.slots.len();
        let added = table.slots.iter().skip(table.first_added).flatten().count();
        if index >= MAX_PORTS || added >= MAX_ADDED {
            return Err(io::Error::other("the guest has too many ports"));
        }
        let listener = Arc::new(Listener { protocol, address, guest_port, socket });
        table.slots.push(Some(Slot { listener, watched: false }));
        table.watch(index, true).inspect_err(|_| table.slots[index] = None)
    }

    /// Removes the port that is bound to `address`; false if there is none. Connections stay, and nobody is accepted any
    /// more.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove(&self, address: SocketAddr, protocol: Protocol) -> io::Result<bool> {
        let mut table = self.0.table();
        let is_it = |slot: &Option<Slot>| {
            slot.as_ref()
                .is_some_and(|slot| (slot.listener.address, slot.listener.protocol) == (address, protocol))
        };
        let Some(index) = table.slots.iter().position(is_it) else { return Ok(false) };
        table.watch(index, false)?;
        table.slots[index] = None;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn new_poller() -> Poller {
        Poller::new(&monocore_hypervisor::Event::new().unwrap()).unwrap()
    }

    fn bound() -> (OwnedFd, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        (socket.into(), address)
    }

    #[test]
    fn a_port_that_goes_is_free_and_its_number_is_not_used_again() {
        let ports = Ports::default();
        let handle = ports.handle();
        let (socket, before) = bound();
        handle.add(socket, before, Protocol::Tcp, 80).unwrap();
        let poller = new_poller();
        ports.begin(&poller).unwrap();
        let (socket, later) = bound();
        handle.add(socket, later, Protocol::Tcp, 81).unwrap();
        assert_eq!(ports.published(), [(before, 80), (later, 81)]);
        TcpStream::connect(later).unwrap();
        assert!(!handle.remove(before, Protocol::Udp).unwrap());
        assert!(handle.remove(before, Protocol::Tcp).unwrap());
        assert!(!handle.remove(before, Protocol::Tcp).unwrap());
        TcpListener::bind(before).unwrap();
        assert!(ports.get(0).is_none());
        assert_eq!(ports.get(1).unwrap().guest_port, 81);
        ports.watch(0, true).unwrap();
        // A device that starts again watches what is left.
        ports.begin(&new_poller()).unwrap();
    }

    #[test]
    fn there_is_a_most_of_ports() {
        let handle = Ports::default().handle();
        let one = |number: u16| {
            let (socket, address) = bound();
            handle.add(socket, SocketAddr::new(address.ip(), number), Protocol::Tcp, 1)
        };
        (1..).take(MAX_ADDED).for_each(|number| one(number).unwrap());
        assert!(one(5000).is_err());
        assert!(handle.remove("127.0.0.1:1".parse().unwrap(), Protocol::Tcp).unwrap());
        one(5000).unwrap();
    }
}
