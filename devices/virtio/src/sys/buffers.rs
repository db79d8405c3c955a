//! A scatter list of guest memory that system calls read from and write to directly.
//!
//! The list borrows the guest's RAM, so no mapping goes away under it. The guest may change the bytes at any
//! time: nothing here ever makes a Rust reference to them, copies are volatile, and a value that must be
//! judged is copied out once and judged in the copy.

#![allow(unsafe_code, reason = "I/O vectors over guest RAM; the only pointers to it in this crate")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};

use monocore_hypervisor::GuestRam;
use monocore_hypervisor::memory::Backing;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryBackend, Permissions, VolatileSlice};

/// The most vectors one system call takes (`IOV_MAX`).
const IOV_MAX: usize = 1024;
/// The smallest page that a host has, bytes. A host with larger pages refuses to give back a range that does not begin
/// at one of its own, and the range stays.
const HOST_PAGE: usize = 4096;

/// Pieces of guest RAM in order, seen as one run of bytes.
#[derive(Debug)]
pub struct Buffers<'m> {
    /// Every vector lies in a mapping of the `GuestRam` borrowed for `'m`.
    vecs: Vec<libc::iovec>,
    /// Vectors before this one are used up.
    first: usize,
    len_bytes: usize,
    ram: PhantomData<&'m GuestRam>,
}

impl Default for Buffers<'_> {
    fn default() -> Self {
        Self { vecs: Vec::new(), first: 0, len_bytes: 0, ram: PhantomData }
    }
}

impl<'m> Buffers<'m> {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the list and keeps its room.
    pub fn clear(&mut self) {
        self.vecs.clear();
        self.first = 0;
        self.len_bytes = 0;
    }

    /// Length of all pieces together, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// Appends `len_bytes` of guest RAM at `addr` and says whether all of it is RAM; if not, nothing that
    /// lies outside is in the list.
    #[must_use]
    pub fn push(&mut self, ram: &'m GuestRam, addr: GuestAddress, len_bytes: u32) -> bool {
        if let Ok(slice) = ram.get_slice(addr, len_bytes as usize) {
            // Nearly every buffer lies in one piece.
            self.push_vec(libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            });
            return true;
        }
        let Ok(slices) = GuestMemory::get_slices(ram, addr, len_bytes as usize, Permissions::ReadWrite)
        else {
            return false;
        };
        for slice in slices {
            let Ok(slice) = slice else { return false };
            self.push_vec(libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            });
        }
        true
    }

    /// Appends the bytes of `from` between `skip_bytes` and `skip_bytes + len_bytes`, as far as there are any.
    pub fn append_range(&mut self, from: &Buffers<'m>, skip_bytes: usize, len_bytes: usize) {
        for vec in from.ranges(skip_bytes, len_bytes) {
            self.push_vec(vec);
        }
    }

    /// Drops the first `count_bytes`, or everything where there are fewer.
    pub fn advance(&mut self, count_bytes: usize) {
        let mut left = count_bytes.min(self.len_bytes);
        self.len_bytes -= left;
        while left > 0 {
            let vec = &mut self.vecs[self.first];
            if vec.iov_len > left {
                vec.iov_base = vec.iov_base.wrapping_byte_add(left);
                vec.iov_len -= left;
                return;
            }
            left -= vec.iov_len;
            self.first += 1;
        }
    }

    /// Keeps the first `len_bytes` and drops what follows.
    pub fn truncate(&mut self, len_bytes: usize) {
        let mut surplus = self.len_bytes.saturating_sub(len_bytes);
        self.len_bytes -= surplus;
        while surplus > 0 {
            let Some(vec) = self.vecs.last_mut() else { return };
            if vec.iov_len > surplus {
                vec.iov_len -= surplus;
                return;
            }
            surplus -= vec.iov_len;
            self.vecs.pop();
        }
    }

    /// Copies bytes from `offset_bytes` on into `data` and says how many there were.
    pub fn copy_to(&self, offset_bytes: usize, data: &mut [u8]) -> usize {
        let mut done = 0;
        for vec in self.ranges(offset_bytes, data.len()) {
            done += volatile(&vec).copy_to(&mut data[done..done + vec.iov_len]);
        }
        done
    }

    /// Copies `data` to `offset_bytes` and says how many bytes there was room for.
    pub fn copy_from(&self, offset_bytes: usize, data: &[u8]) -> usize {
        let mut done = 0;
        for vec in self.ranges(offset_bytes, data.len()) {
            volatile(&vec).copy_from(&data[done..done + vec.iov_len]);
            done += vec.iov_len;
        }
        done
    }

    /// Fills `len_bytes` from `offset_bytes` on with zeroes, as far as there are any.
    pub fn zero(&self, offset_bytes: usize, len_bytes: usize) {
        const ZEROES: [u8; 4096] = [0; 4096];
        for vec in self.ranges(offset_bytes, len_bytes) {
            let slice = volatile(&vec);
            for start in (0..vec.iov_len).step_by(ZEROES.len()) {
                let count = ZEROES.len().min(vec.iov_len - start);
                // The range was just computed to lie within the slice.
                let _ = slice.write(&ZEROES[..count], start);
            }
        }
    }

    /// Gives the pages that lie wholly in the list back to the host's system and says how many bytes that were. They
    /// read as zeroes then, or as the file that is mapped there. `backing` is that of the guest's RAM. What the
    /// system refuses stays as it was.
    pub fn discard(&self, backing: Backing) -> u64 {
        let advice = match backing {
            Backing::Private => libc::MADV_DONTNEED,
            Backing::Shared => libc::MADV_REMOVE,
        };
        let mut given = 0;
        for vec in self.ranges(0, self.len_bytes) {
            let skip = vec.iov_base.align_offset(HOST_PAGE);
            let len_bytes = vec.iov_len.saturating_sub(skip) / HOST_PAGE * HOST_PAGE;
            if len_bytes == 0 {
                continue;
            }
            // SAFETY: whole pages of guest RAM that stays mapped for `'m`; nobody holds a Rust reference into it, and
            // another thread that accesses it, which it does as volatile memory, sees old bytes or new ones.
            let done = unsafe { libc::madvise(vec.iov_base.wrapping_byte_add(skip), len_bytes, advice) };
            if done == 0 {
                given += len_bytes as u64;
            } else {
                tracing::debug!(error = %io::Error::last_os_error(), "pages stay that the guest freed");
            }
        }
        given
    }

    /// Reads once from `file` at `offset_bytes` into the list (`preadv`) and returns the count, 0 at its end.
    ///
    /// # Errors
    /// The operating system's; an offset past 2^63 is `InvalidInput`.
    pub fn read_at(&self, file: impl AsFd, offset_bytes: u64) -> io::Result<usize> {
        let (fd, offset) = (file.as_fd().as_raw_fd(), file_offset(offset_bytes)?);
        let (vecs, count) = self.raw();
        // SAFETY: `count` vectors at `vecs` describe guest RAM that stays mapped and writable for `'m`, and
        // nobody holds a Rust reference into it.
        retry(|| unsafe { libc::preadv(fd, vecs, count, offset) })
    }

    /// Writes the list once to `file` at `offset_bytes` (`pwritev`) and returns the count.
    ///
    /// # Errors
    /// The operating system's; an offset past 2^63 is `InvalidInput`.
    pub fn write_at(&self, file: impl AsFd, offset_bytes: u64) -> io::Result<usize> {
        let (fd, offset) = (file.as_fd().as_raw_fd(), file_offset(offset_bytes)?);
        let (vecs, count) = self.raw();
        // SAFETY: `count` vectors at `vecs` describe guest RAM that stays mapped for `'m`.
        retry(|| unsafe { libc::pwritev(fd, vecs, count, offset) })
    }

    /// Writes the list once to the end of `file` (`pwritev2` with `RWF_APPEND`) and returns the count.
    ///
    /// # Errors
    /// The operating system's.
    pub fn append_to(&self, file: impl AsFd) -> io::Result<usize> {
        let fd = file.as_fd().as_raw_fd();
        let (vecs, count) = self.raw();
        // SAFETY: as in `write_at`.
        retry(|| unsafe { libc::pwritev2(fd, vecs, count, 0, libc::RWF_APPEND) })
    }

    /// Reads once from `stream` into the list (`readv`) and returns the count, 0 at its end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read_from(&self, stream: impl AsFd) -> io::Result<usize> {
        let fd = stream.as_fd().as_raw_fd();
        let (vecs, count) = self.raw();
        // SAFETY: as in `read_at`.
        retry(|| unsafe { libc::readv(fd, vecs, count) })
    }

    /// Writes the list once to `stream` (`writev`) and returns the count.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_to(&self, stream: impl AsFd) -> io::Result<usize> {
        let fd = stream.as_fd().as_raw_fd();
        let (vecs, count) = self.raw();
        // SAFETY: as in `write_at`.
        retry(|| unsafe { libc::writev(fd, vecs, count) })
    }

    /// Receives once from `socket` without waiting and returns the count, 0 at its end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; the operating system's.
    pub fn receive(&self, socket: impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let mut message = self.message();
        // SAFETY: `message` names vectors as `read_at` does and is valid for the call; it has no name or
        // control part.
        retry(|| unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) })
    }

    /// Sends the list once to `socket` without waiting and without SIGPIPE, and returns the count.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room, `BrokenPipe` where nobody reads; the operating system's.
    pub fn send(&self, socket: impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let message = self.message();
        // SAFETY: `message` names vectors as `write_at` does and is valid for the call.
        retry(|| unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
    }

    /// Sends `before` and then the list as one message, once, without waiting and without SIGPIPE, and returns the count of
    /// both.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_after(&self, before: &[u8], socket: impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let first = libc::iovec { iov_base: before.as_ptr().cast_mut().cast(), iov_len: before.len() };
        let vecs = self.behind(first);
        let mut message = self.message();
        message.msg_iov = vecs.as_ptr().cast_mut();
        message.msg_iovlen = vecs.len() as _;
        // SAFETY: as in `send`; the first vector is `before`, which is only read.
        retry(|| unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
    }

    /// Looks at what `socket` will give (`MSG_PEEK`) and leaves it there: the list receives what lies behind the bytes
    /// that fill `skipped`. Returns the count in the list; 0 where nothing more comes.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there beyond `skipped`; the operating system's.
    pub fn peek(&self, skipped: &mut [u8], socket: impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let mut message = self.message();
        let vecs;
        if !skipped.is_empty() {
            vecs = self.behind(libc::iovec { iov_base: skipped.as_mut_ptr().cast(), iov_len: skipped.len() });
            message.msg_iov = vecs.as_ptr().cast_mut();
            message.msg_iovlen = vecs.len() as _;
        }
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: as in `receive`; the first vector may be `skipped`, which nobody else sees.
        let count = retry(|| unsafe { libc::recvmsg(fd, &raw mut message, flags) })?;
        match count.checked_sub(skipped.len()) {
            Some(0) | None if !skipped.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            rest => Ok(rest.unwrap_or(0)),
        }
    }

    /// `first` and the list's vectors, as many as one system call takes.
    fn behind(&self, first: libc::iovec) -> Vec<libc::iovec> {
        std::iter::once(first).chain(self.vecs[self.first..].iter().copied()).take(IOV_MAX).collect()
    }

    /// The list's vectors, as many as one system call takes, and `last`.
    pub(super) fn before(&self, last: libc::iovec) -> Vec<libc::iovec> {
        self.vecs[self.first..].iter().copied().take(IOV_MAX - 1).chain([last]).collect()
    }

    fn push_vec(&mut self, vec: libc::iovec) {
        if vec.iov_len == 0 {
            return;
        }
        self.len_bytes += vec.iov_len;
        match self.vecs[self.first..].last_mut() {
            // Buffers that lie side by side become one vector.
            Some(last) if last.iov_base.wrapping_byte_add(last.iov_len) == vec.iov_base => {
                last.iov_len += vec.iov_len;
            }
            _ => self.vecs.push(vec),
        }
    }

    /// The vectors that make up `len_bytes` from `offset_bytes` on, cut to fit.
    fn ranges(&self, offset_bytes: usize, len_bytes: usize) -> impl Iterator<Item = libc::iovec> + '_ {
        let (mut skip, mut left) = (offset_bytes, len_bytes);
        self.vecs[self.first..].iter().filter_map(move |vec| {
            let skipped = skip.min(vec.iov_len);
            skip -= skipped;
            let iov_len = (vec.iov_len - skipped).min(left);
            left -= iov_len;
            (iov_len > 0).then(|| libc::iovec { iov_base: vec.iov_base.wrapping_byte_add(skipped), iov_len })
        })
    }

    fn raw(&self) -> (*const libc::iovec, libc::c_int) {
        let vecs = &self.vecs[self.first..];
        // At most IOV_MAX: what is beyond is left for the next call, as with any short count.
        #[allow(clippy::cast_possible_truncation, reason = "at most 1024")]
        #[allow(clippy::cast_possible_wrap, reason = "at most 1024")]
        (vecs.as_ptr(), vecs.len().min(IOV_MAX) as libc::c_int)
    }

    pub(super) fn message(&self) -> libc::msghdr {
        let vecs = &self.vecs[self.first..];
        // SAFETY: a message header is plain data whose all-zero value means "no name, no control part".
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vecs.as_ptr().cast_mut();
        message.msg_iovlen = vecs.len().min(IOV_MAX) as _;
        message
    }
}

fn volatile(vec: &libc::iovec) -> VolatileSlice<'_> {
    // SAFETY: vectors of a `Buffers` lie in guest RAM mapped as long as the list lives, and everyone in this
    // process reaches it through volatile accesses or system calls only.
    unsafe { VolatileSlice::new(vec.iov_base.cast(), vec.iov_len) }
}

fn file_offset(offset_bytes: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset_bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

pub(super) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(0), 0x2000), (GuestAddress(0x2000), 0x1000)]).unwrap()
    }

    #[test]
    fn pieces_read_as_one_run_and_shrink_from_both_ends() {
        let ram = ram();
        let mut list = Buffers::new();
        assert!(list.push(&ram, GuestAddress(0x100), 3));
        assert!(list.push(&ram, GuestAddress(0x1ffe), 4)); // crosses into the second region
        assert_eq!(list.copy_from(0, b"abcdefgh"), 7);
        let mut seen = [0; 7];
        assert_eq!(list.copy_to(0, &mut seen), 7);
        assert_eq!(&seen, b"abcdefg");

        list.advance(2);
        list.truncate(4);
        assert_eq!(list.len_bytes(), 4);
        let mut seen = [0; 8];
        assert_eq!(list.copy_to(0, &mut seen), 4);
        assert_eq!(&seen[..4], b"cdef");
        list.zero(1, 2);
        list.copy_to(0, &mut seen);
        assert_eq!(&seen[..4], b"c\0\0f");

        let mut part = Buffers::new();
        part.append_range(&list, 3, 10);
        assert_eq!(part.len_bytes(), 1);
        list.advance(100);
        assert!(list.is_empty());
    }

    #[test]
    fn nothing_outside_ram_gets_in() {
        let ram = ram();
        let mut list = Buffers::new();
        assert!(!list.push(&ram, GuestAddress(0x2fff), 2));
        assert!(!Buffers::new().push(&ram, GuestAddress(u64::MAX), 2));
        assert!(list.len_bytes() <= 1);
    }

    #[test]
    fn appending_goes_to_the_end_of_a_file() {
        let ram = ram();
        let mut list = Buffers::new();
        assert!(list.push(&ram, GuestAddress(0x10), 4));
        list.copy_from(0, b"1234");
        let fd = rustix::fs::memfd_create("append", rustix::fs::MemfdFlags::empty()).unwrap();
        assert_eq!((list.append_to(&fd).unwrap(), list.append_to(&fd).unwrap()), (4, 4));
        assert_eq!(list.read_at(&fd, 6).unwrap(), 2);
        let mut seen = [0; 4];
        list.copy_to(0, &mut seen);
        assert_eq!(&seen, b"3434");
    }

    #[test]
    fn what_is_peeked_at_stays() {
        use std::os::unix::net::UnixStream;
        let ram = ram();
        let mut list = Buffers::new();
        assert!(list.push(&ram, GuestAddress(0x10), 4));
        let (near, far) = UnixStream::pair().unwrap();
        assert_eq!(list.send_after(b"ab", &far).unwrap(), 6);
        list.copy_from(0, b"cdef");
        assert_eq!(list.send_after(b"", &far).unwrap(), 4);
        let mut seen = [0; 4];
        for (skip, expected) in [(0, Some(&b"ab\0\0"[..])), (6, Some(b"cdef")), (8, Some(b"ef")), (10, None)]
        {
            let peeked = list.peek(&mut vec![0; skip], &near).ok();
            list.copy_to(0, &mut seen);
            assert_eq!(peeked.map(|count| &seen[..count]), expected, "{skip}");
        }
        drop(far);
        std::io::Read::read_exact(&mut &near, &mut [0; 10]).unwrap();
        assert_eq!(list.peek(&mut [], &near).unwrap(), 0);
    }

    #[test]
    fn files_and_sockets_reach_guest_memory_directly() {
        use std::os::unix::net::UnixStream;
        let ram = ram();
        let mut list = Buffers::new();
        assert!(list.push(&ram, GuestAddress(0x10), 4));
        assert!(list.push(&ram, GuestAddress(0x1000), 4));
        let (near, far) = UnixStream::pair().unwrap();
        assert_eq!(list.receive(&near).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        std::io::Write::write_all(&mut &far, b"12345678").unwrap();
        assert_eq!(list.receive(&near).unwrap(), 8);
        assert_eq!(list.send(&near).unwrap(), 8);
        let mut seen = [0; 8];
        std::io::Read::read_exact(&mut &far, &mut seen).unwrap();
        assert_eq!(&seen, b"12345678");
        drop(far);
        assert_eq!(list.send(&near).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
