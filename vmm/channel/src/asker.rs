//! The two ends of a channel.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::packet::{Malformed, Received, receive_packet, send_packet};

/// Most requests without a reply: their replies must fit into a socket's buffer together.
const MAX_WAITING: usize = 32;

/// Most packets dropped in one look for a reply.
const MAX_DROPPED: usize = 64;

/// The end that asks `Q` and is answered `A`. Each request carries a `K`, which comes back with its reply.
#[derive(Debug)]
pub struct Asker<Q, A, K> {
    socket: OwnedFd,
    next: u32,
    waiting: BTreeMap<u32, K>,
    messages: PhantomData<fn(Q) -> A>,
}

/// A reply that arrived.
#[derive(Debug)]
pub struct Reply<A, K> {
    /// What came with the request.
    pub key: K,
    /// What the other end says, or that it said nonsense.
    pub message: Result<A, Malformed>,
    /// What is attached.
    pub descriptors: Vec<OwnedFd>,
}

/// What a look for replies found.
#[derive(Debug)]
pub enum Asked<A, K> {
    /// A reply.
    Reply(Reply<A, K>),
    /// Nothing now.
    Nothing,
    /// The other end is gone. No reply will come any more.
    Closed,
}

impl<Q: Serialize, A: DeserializeOwned, K> Asker<Q, A, K> {
    /// Takes over one end of a [`pair`](crate::pair).
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, next: 1, waiting: BTreeMap::new(), messages: PhantomData }
    }

    /// Sends a request. `key` comes back with its reply.
    ///
    /// # Errors
    /// The key, and why: [`io::ErrorKind::WouldBlock`] where the other end is far behind, else the system's.
    pub fn ask(&mut self, request: &Q, descriptors: &[BorrowedFd<'_>], key: K) -> Result<(), (K, io::Error)> {
        if self.waiting.len() >= MAX_WAITING {
            return Err((key, io::ErrorKind::WouldBlock.into()));
        }
        let number = self.next;
        if let Err(error) = send_packet(self.socket.as_fd(), number, request, descriptors) {
            return Err((key, error));
        }
        // 0 is the number of a packet that has none.
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.waiting.insert(number, key);
        Ok(())
    }

    /// The next reply. One that nobody asked for is dropped; after many of those there is nothing for now, so that an end
    /// that sends without being asked does not keep the caller here.
    pub fn reply(&mut self) -> Asked<A, K> {
        for _ in 0..MAX_DROPPED {
            match receive_packet(&self.socket) {
                Received::Nothing => return Asked::Nothing,
                Received::Closed => return Asked::Closed,
                Received::Packet { number, message, descriptors } => {
                    if let Some(key) = self.waiting.remove(&number) {
                        return Asked::Reply(Reply { key, message, descriptors });
                    }
                }
            }
        }
        Asked::Nothing
    }

    /// The keys of all requests that have no reply yet.
    pub fn waiting(&self) -> impl Iterator<Item = &K> {
        self.waiting.values()
    }

    /// Gives up requests whose key `is_due`; their replies will be dropped.
    pub fn give_up(&mut self, mut is_due: impl FnMut(&K) -> bool) -> Vec<K> {
        self.waiting.extract_if(.., |_, key| is_due(key)).map(|(_, key)| key).collect()
    }
}

impl<Q, A, K> AsFd for Asker<Q, A, K> {
    /// Readable when [`reply`](Self::reply) has something to say.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The end that is asked `Q` and answers `A`.
#[derive(Debug)]
pub struct Answerer<Q, A> {
    socket: OwnedFd,
    messages: PhantomData<fn(A) -> Q>,
}

/// What a look for requests found.
#[derive(Debug)]
pub enum Question<Q> {
    /// A request under this number, or why it is none; the descriptors are attached to it.
    Asked(u32, Result<Q, Malformed>, Vec<OwnedFd>),
    /// Nothing now.
    Nothing,
    /// The other end is gone. No request will come any more.
    Closed,
}

impl<Q: DeserializeOwned, A: Serialize> Answerer<Q, A> {
    /// Takes over one end of a [`pair`](crate::pair).
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, messages: PhantomData }
    }

    /// The next request.
    pub fn question(&self) -> Question<Q> {
        match receive_packet(&self.socket) {
            Received::Nothing => Question::Nothing,
            Received::Closed => Question::Closed,
            Received::Packet { number, message, descriptors } => {
                Question::Asked(number, message, descriptors)
            }
        }
    }

    /// Answers the request of this number.
    ///
    /// # Errors
    /// The message is too long; [`io::ErrorKind::WouldBlock`] where the asker is far behind; else the system's.
    pub fn answer(&self, number: u32, message: &A, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_packet(self.socket.as_fd(), number, message, descriptors)
    }
}

impl<Q, A> AsFd for Answerer<Q, A> {
    /// Readable when [`question`](Self::question) has something to say.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
