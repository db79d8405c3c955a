//! The first bytes of a connection that a name let be: they are acknowledged and kept until it is known for whom they are, so
//! that a guest which waits for its acknowledgement sends the rest. Then they go on, and nothing is kept any more.

use std::io;

use monocore_virtio::Buffers;
use rustix::io::Errno;
use rustix::net::{SendFlags, send as send_bytes};

use super::connection::Connection;
use crate::engine::{Beginning, Engine};
use crate::hello::MAX_HELLO_BYTES;

/// What is kept of a connection.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// At most [`MAX_HELLO_BYTES`].
    bytes: Vec<u8>,
    /// They may go on, and the socket has not taken all of them yet.
    passed: bool,
}

/// Takes what the guest sends on a connection that has something held, or may have; says how many bytes of it are taken.
///
/// # Errors
/// The socket's; `PermissionDenied` where the connection must not go on.
pub(super) fn send(
    engine: &mut Engine,
    connection: &mut Connection,
    payload: &mut Buffers<'_>,
) -> io::Result<usize> {
    let mut taken = 0;
    if let Some(held) = connection.held.as_mut().filter(|held| !held.passed) {
        let before = held.bytes.len();
        held.bytes.resize(MAX_HELLO_BYTES.min(before + payload.len_bytes()), 0);
        taken = payload.copy_to(0, &mut held.bytes[before..]);
        match engine.beginning(connection.remote, &held.bytes, false) {
            Beginning::Hold => return Ok(taken),
            Beginning::Pass => held.passed = true,
            Beginning::Refuse => return Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
    payload.advance(taken);
    if !flush(connection)? || payload.is_empty() {
        return Ok(taken);
    }
    match payload.send(&connection.socket) {
        Ok(more) => Ok(taken + more),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(taken),
        Err(error) => Err(error),
    }
}

/// Gives the socket what may go on; says whether nothing is held any more.
///
/// # Errors
/// The socket's.
pub(super) fn flush(connection: &mut Connection) -> io::Result<bool> {
    let Some(held) = &mut connection.held else { return Ok(true) };
    if !held.passed {
        return Ok(false);
    }
    while !held.bytes.is_empty() {
        match send_bytes(&connection.socket, &held.bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => drop(held.bytes.drain(..count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    connection.held = None;
    Ok(true)
}

/// The guest sends no more; says whether the socket can be told so, nothing being held any more.
///
/// # Errors
/// The socket's; `PermissionDenied` where the connection must not go on.
pub(super) fn end(engine: &mut Engine, connection: &mut Connection) -> io::Result<bool> {
    if let Some(held) = connection.held.as_mut().filter(|held| !held.passed) {
        held.passed = engine.beginning(connection.remote, &held.bytes, true) == Beginning::Pass;
        if !held.passed {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    flush(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::os::unix::net::UnixStream;

    use monocore_spec::{Action, Direction, LinkSpec, NetRule, NetTarget, PolicySpec, Reach};

    use super::super::connection::{Carrier, Phase};
    use crate::hello::tests::hello_for;
    use crate::{HostAddresses, Policy, Receipts};

    #[test]
    fn what_the_socket_does_not_take_at_once_goes_on_later() {
        let rule = NetRule {
            action: Action::Allow,
            direction: Direction::Out,
            target: NetTarget::Domain("allowed.example".into()),
            ports: None,
            protocol: None,
        };
        let policy =
            Policy::new(&PolicySpec { reach: Reach::None, rules: vec![rule] }, HostAddresses::default());
        let mut engine = Engine::new(policy, Receipts::new(None), &LinkSpec::default(), 1);
        let ends = (SocketAddr::from(([10, 77, 0, 2], 1)), SocketAddr::from(([9, 9, 9, 9], 443)));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut filling = 0;
        while let Ok(count) = (&ours).write(&[7; 4096]) {
            filling += count;
        }
        let mut connection = Connection::new(ends, (ours.into(), Carrier::Tcp), Phase::Open, 0);
        let hello = hello_for("allowed.example");
        connection.held = Some(Box::new(Held { bytes: hello.clone(), passed: false }));
        assert_eq!(send(&mut engine, &mut connection, &mut Buffers::new()).unwrap(), 0);
        // It may go on, but there is no room; nor is the guest's end passed on before it.
        assert!(!flush(&mut connection).unwrap() && !end(&mut engine, &mut connection).unwrap());
        let mut seen = vec![0; filling];
        theirs.read_exact(&mut seen).unwrap();
        assert!(end(&mut engine, &mut connection).unwrap() && connection.held.is_none());
        let mut seen = vec![0; hello.len()];
        theirs.read_exact(&mut seen).unwrap();
        assert_eq!(seen, hello);
    }
}
