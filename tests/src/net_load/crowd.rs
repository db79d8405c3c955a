//! Many connections: at once, and one after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Opens `count` connections, then uses each of them, all being open.
pub(super) fn at_once(to: SocketAddr, count: usize) -> Result<String> {
    let limit = Some(count as u64 + 64);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })
        .context("raise the limit of files")?;
    let mut streams = Vec::new();
    for number in 0..u32::try_from(count)? {
        streams.push(TcpStream::connect(to).with_context(|| format!("connection {number}"))?);
    }
    for (number, stream) in (0u32..).zip(&mut streams) {
        stream.write_all(&number.to_le_bytes()).with_context(|| format!("send on {number}"))?;
    }
    for (number, stream) in (0u32..).zip(&mut streams) {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).with_context(|| format!("receive on {number}"))?;
        ensure!(answer == number.to_le_bytes(), "connection {number} has another's answer");
    }
    Ok(format!("{count} connections"))
}

/// Makes a connection, asks, is answered, closes; `count` times. Before and after, the observer on the host looks at what
/// is left of them.
pub(super) fn one_after_another(to: SocketAddr, count: usize, observer: SocketAddr) -> Result<String> {
    let mut observer = TcpStream::connect(observer).context("connect to the observer")?;
    let mut look = |what: u8| -> Result<()> {
        // The last connections' ends are still under way.
        std::thread::sleep(Duration::from_millis(300));
        observer.write_all(&[what])?;
        observer.read_exact(&mut [0]).context("the observer has looked")
    };
    let once = |number: usize| -> Result<()> {
        let mut stream = TcpStream::connect(to).with_context(|| format!("connection {number}"))?;
        let byte = [number.to_le_bytes()[0]];
        stream.write_all(&byte)?;
        let mut answer = [0];
        stream.read_exact(&mut answer).with_context(|| format!("answer {number}"))?;
        ensure!(answer == byte, "answer {number} is another's");
        Ok(())
    };
    (0..20).try_for_each(once)?;
    let before = descriptors()?;
    look(b'b')?;
    (0..count).try_for_each(once)?;
    look(b'a')?;
    ensure!(descriptors()? == before, "this program has descriptors left");
    Ok(format!("{count} connections, one after another"))
}

fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
