//! One connection behind several descriptors and in several processes, and bytes that go from file to socket by themselves.

use std::fs::File;
use std::io::{Read, Seek, Write};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, send, shutdown, socketpair};
use rustix::pipe::{SpliceFlags, pipe, splice};

use super::check::{Checks, text, value};
use super::ends::{Target, now, peer_name, read_to_end, take, take_exactly, until, write_all};
use super::sys;

/// A child's end as the suite's errors have it.
fn ended(child: std::io::Result<i32>) -> String {
    child.and_then(sys::wait).unwrap_or_else(|error| error.to_string())
}

pub(super) fn sharing(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let stream = target.stream("echo")?;
    let child = sys::fork(|| {
        let _ = write_all(&stream, b"from the child");
    });
    c.is("a child sends", ended(child), "exit 0");
    c.is("its parent receives", text(take_exactly(&stream, 14)), "\"from the child\"");
    write_all(&stream, b"for the child")?;
    let child = sys::fork(|| {
        let got = take_exactly(&stream, 13);
        assert!(got.is_ok_and(|got| got == b"for the child"), "the child receives");
    });
    c.is("a child receives", ended(child), "exit 0");
    c.is("a child's end is not the connection's", now(&stream)?, "OUT");
    let child = sys::fork(|| {
        let _ = shutdown(&stream, Shutdown::Write);
    });
    c.is("a child ends sending", ended(child), "exit 0");
    c.fails("for all", send(&stream, b"x", SendFlags::NOSIGNAL), "EPIPE");
    c.is("the peer saw it", value(read_to_end(&stream).map(|bytes| bytes.len())), "0");

    let stream = target.stream("echo")?;
    let twin = rustix::io::dup(&stream)?;
    drop(stream);
    c.works("a twin sends", write_all(&twin, b"twin"));
    c.is("a twin receives", text(take_exactly(&twin, 4)), "\"twin\"");
    let second = rustix::io::dup(&twin)?;
    rustix::io::ioctl_fionbio(&second, true)?;
    c.fails("twins share whether they wait", take(&twin, 1, RecvFlags::empty()), "EAGAIN");
    c.is("twins share their peer", peer_name(&second)? == peer_name(&twin)?, true);

    // Two processes that receive from one connection take different bytes.
    let stream = target.stream("send 200000")?;
    let (reader, writer) = pipe()?;
    let child = sys::fork(|| {
        let count = read_to_end(&stream).map_or(0, |bytes| bytes.len());
        let _ = rustix::io::write(&writer, &count.to_le_bytes());
    });
    let ours = read_to_end(&stream)?.len();
    c.is("the other reader ends", ended(child), "exit 0");
    let mut count = [0; 8];
    rustix::io::read(&reader, &mut count[..])?;
    c.is("together they have everything", ours + usize::from_le_bytes(count), 200_000);
    Ok(())
}

pub(super) fn passing(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let stream = target.stream("echo")?;
    c.works("pass a connection", sys::send_descriptor(&here, &stream));
    drop(stream);
    let passed = sys::receive_descriptor(&there)?;
    c.is("it is connected", peer_name(&passed)?, target.at(0));
    write_all(&passed, b"passed")?;
    c.is("it works", text(take_exactly(&passed, 6)), "\"passed\"");
    let child = sys::fork(|| {
        let got = sys::receive_descriptor(&there).and_then(|stream| {
            write_all(&stream, b"by a stranger")?;
            take_exactly(&stream, 13)
        });
        assert!(got.is_ok_and(|got| got == b"by a stranger"), "the stranger uses it");
    });
    c.works("pass it to another process", sys::send_descriptor(&here, &passed));
    c.is("which uses it", ended(child), "exit 0");
    c.is("it lives on", now(&passed)?, "OUT");
    let udp = target.udp()?;
    rustix::net::connect(&udp, &target.at(0))?;
    sys::send_descriptor(&here, &udp)?;
    drop(udp);
    let passed = sys::receive_descriptor(&there)?;
    send(&passed, b"datagram", SendFlags::empty())?;
    c.is("a passed datagram socket works", text(take(&passed, 64, RecvFlags::empty())), "\"datagram\"");

    // In flight when everybody else has closed it.
    let name = format!("flight{}", target.family_digit());
    let stream = target.stream(&format!("watch {name}"))?;
    sys::send_descriptor(&here, &stream)?;
    drop((stream, here, there));
    c.is("nobody received it", target.ask(&format!("ending {name}"))?, "end after 0");
    Ok(())
}

/// A file with these bytes, at its beginning.
fn file(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("suite", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

pub(super) fn splicing(c: &mut Checks, target: &Target) -> Result<(), Errno> {
    let bytes: Vec<u8> = (0..300_000).map(super::peer::pattern).collect();
    let source = file(&bytes).map_err(|_| Errno::IO)?;
    let stream = target.stream("echo")?;
    let child = sys::fork(|| {
        let mut left = bytes.len();
        while left > 0 {
            match rustix::fs::sendfile(&stream, &source, None, left) {
                Ok(count) if count > 0 => left -= count,
                _ => return,
            }
        }
        let _ = shutdown(&stream, Shutdown::Write);
    });
    c.holds("sendfile", read_to_end(&stream)? == bytes);
    c.is("sendfile ends", ended(child), "exit 0");

    let (reader, writer) = pipe()?;
    let stream = target.stream("echo")?;
    rustix::io::write(&writer, &bytes[..5000])?;
    c.is("splice to a socket", value(splice(&reader, None, &stream, None, 5000, SpliceFlags::empty())), 5000);
    shutdown(&stream, Shutdown::Write)?;
    until(&stream, "IN|OUT|HUP|RDHUP")?;
    let (mut spliced, mut back) = (0, Vec::new());
    loop {
        match splice(&stream, None, &writer, None, 65_536, SpliceFlags::empty())? {
            0 => break,
            count => spliced += count,
        }
    }
    c.is("splice from a socket", spliced, 5000);
    drop(writer);
    File::from(reader).read_to_end(&mut back).map_err(|_| Errno::IO)?;
    c.holds("splice changes nothing", back == bytes[..5000]);
    let (_reader, writer) = pipe()?;
    let idle = target.stream("echo")?;
    rustix::io::ioctl_fionbio(&idle, true)?;
    let nothing = splice(&idle, None, &writer, None, 10, SpliceFlags::empty());
    c.fails("splice without waiting", nothing, "EAGAIN");
    Ok(())
}
