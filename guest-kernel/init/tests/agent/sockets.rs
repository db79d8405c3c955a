//! Unix sockets between the host and a guest, in both directions.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use monocore_orchestrator::{HostSocket, PublishedSocket};
use monocore_protocol::SocketId;

use super::*;

const MIB: usize = 1 << 20;

/// A guest with the place of a socket of the host, that socket's listener, and the place.
fn offered() -> (Guest, UnixListener, PathBuf) {
    let mut place = PathBuf::new();
    let guest = Guest::with(|configure, dir| {
        place = dir.join("in-guest");
        let source = MountSource::Socket { id: SocketId(0), mode: 0o640, uid: 0, gid: 0 };
        let target = ByteString::from(place.as_os_str());
        configure.mounts = vec![Mount { source, target, read_only: false }];
    });
    let path = guest.dir.path().join("on-host");
    let listener = UnixListener::bind(&path).unwrap();
    guest.session.offer(SocketId(0), HostSocket::find(&path).unwrap()).unwrap();
    // The answer to a command says that the guest is configured.
    guest.shell("true");
    (guest, listener, place)
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn accept(listener: &UnixListener) -> UnixStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn a_program_reaches_a_socket_of_the_host_and_each_end_is_passed_on() {
    let (_guest, listener, place) = offered();
    assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o640);
    let mut program = connect(&place);
    let mut service = accept(&listener);
    program.write_all(b"question").unwrap();
    program.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&mut service), b"question", "the program's end arrives");
    service.write_all(b"answer").unwrap();
    drop(service);
    assert_eq!(rest(&mut program), b"answer", "the other direction stayed open");
}

#[test]
fn a_service_that_goes_away_ends_the_programs_connection() {
    let (_guest, listener, place) = offered();
    let mut program = connect(&place);
    drop(accept(&listener));
    assert_eq!(rest(&mut program), b"");
    drop(listener);
    // Nobody listens any more: the connection ends at once.
    assert_eq!(rest(&mut connect(&place)), b"");
}

#[test]
fn much_passes_in_both_directions_at_once() {
    let (_guest, listener, place) = offered();
    let program = connect(&place);
    let service = accept(&listener);
    let send = |mut to: UnixStream, seed: u8| {
        std::thread::spawn(move || {
            for block in 0..32u8 {
                to.write_all(&vec![seed ^ block; MIB]).unwrap();
            }
            to.shutdown(std::net::Shutdown::Write).unwrap();
        })
    };
    let receive = |mut from: UnixStream, seed: u8| {
        std::thread::spawn(move || {
            let all = rest(&mut from);
            assert_eq!(all.len(), 32 * MIB);
            assert!(
                all.chunks(MIB).zip(0..).all(|(chunk, block)| chunk.iter().all(|byte| *byte == seed ^ block))
            );
        })
    };
    let threads = [
        send(program.try_clone().unwrap(), 1),
        send(service.try_clone().unwrap(), 2),
        receive(program, 2),
        receive(service, 1),
    ];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn more_connections_than_are_carried_at_a_time_wait_for_their_turn() {
    let (_guest, listener, place) = offered();
    let mut programs: Vec<UnixStream> = (0..200).map(|_| connect(&place)).collect();
    let services: Vec<UnixStream> = (0..128).map(|_| accept(&listener)).collect();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "the others wait");
    listener.set_nonblocking(false).unwrap();
    let waiting = programs.split_off(128);
    drop((services, programs));
    for _ in &waiting {
        accept(&listener).write_all(b"x").unwrap();
    }
    waiting.into_iter().for_each(|mut program| assert_eq!(rest(&mut program), b"x"));
}

#[test]
fn a_program_of_the_host_reaches_a_socket_in_the_guest() {
    let guest = Guest::new();
    let (inside, outside) = (guest.dir.path().join("inside"), guest.dir.path().join("outside"));
    let listener = UnixListener::bind(&inside).unwrap();
    let published = Arc::new(PublishedSocket::bind(&outside, inside.to_str().unwrap()).unwrap());
    guest.session.publish(Arc::clone(&published)).unwrap();
    for _ in 0..3 {
        let mut client = connect(&outside);
        let mut server = accept(&listener);
        client.write_all(b"question").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(rest(&mut server), b"question");
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(rest(&mut client), b"answer");
    }
    drop(listener);
    assert_eq!(rest(&mut connect(&outside)), b"", "nobody listens in the guest");
}
