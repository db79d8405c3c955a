//! Unix sockets in the guest that lead to sockets of the host: bound at a hidden place, each mounted where it is wanted.

use monocore_protocol::SocketId;
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Mode, OFlags, Uid, chmod, chown, mkdir, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::{mounting, path_of_open};
use crate::error::{Doing, Error};

const PLACE: &str = "/sockets";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket that programs of the guest connect to.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) id: SocketId,
    pub(crate) socket: OwnedFd,
}

/// Who may connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The sockets made so far.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// The hidden place, opened before the root covers it; nothing outside a machine.
    place: Option<OwnedFd>,
    made: u32,
    /// Those that the agent does not serve yet.
    pub(crate) fresh: Vec<Listening>,
}

impl Sockets {
    /// Makes the hidden place; only before the new root covers the initramfs.
    pub(super) fn new() -> Result<Self, Error> {
        mkdir(PLACE, Mode::from_raw_mode(0o700)).doing("make", PLACE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = open(PLACE, flags, Mode::empty()).doing("open", PLACE)?;
        Ok(Self { place: Some(place), ..Self::default() })
    }

    /// A mount of a new socket, attached nowhere yet.
    pub(super) fn mount(&mut self, id: SocketId, access: Access) -> Result<OwnedFd, Error> {
        let Some(place) = &self.place else {
            return Err(Error::Refused("this guest has no place for sockets".to_owned()));
        };
        self.made += 1;
        let name = self.made.to_string();
        let path = format!("{}/{name}", path_of_open(place));
        let mount = listen_at(path.as_bytes(), access).map(|socket| Listening { id, socket })?;
        self.fresh.push(mount);
        let place = self.place.as_ref().ok_or(Errno::BADF).doing("find", PLACE)?;
        mounting::clone_of(place, &name)
    }

    /// Makes a socket at a path of its own, for an agent that mounts nothing.
    pub(crate) fn make(&mut self, id: SocketId, path: &[u8], access: Access) -> Result<(), Error> {
        let socket = listen_at(path, access)?;
        self.fresh.push(Listening { id, socket });
        Ok(())
    }
}

fn listen_at(path: &[u8], access: Access) -> Result<OwnedFd, Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).doing("make", "a socket")?;
    let address = SocketAddrUnix::new(path).doing("name a socket", path)?;
    bind(&socket, &address).doing("make the socket", path)?;
    chown(path, Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)))
        .doing("give to its owner", path)?;
    chmod(path, Mode::from_raw_mode(access.mode & 0o777)).doing("set the mode of", path)?;
    listen(&socket, BACKLOG).doing("listen at", path)?;
    Ok(socket)
}

/// A socket's address. A path too long for one is named by its folder's descriptor, which is returned to be kept open.
pub(crate) fn address(path: &[u8]) -> Result<(SocketAddrUnix, Option<OwnedFd>), Errno> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return Ok((address, None));
    }
    let slash = path.iter().rposition(|byte| *byte == b'/').ok_or(Errno::INVAL)?;
    let folder = open(&path[..=slash], OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = [format!("{}/", path_of_open(&folder)).as_bytes(), &path[slash + 1..]].concat();
    Ok((SocketAddrUnix::new(&short[..])?, Some(folder)))
}
