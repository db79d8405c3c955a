//! Many bytes one way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Stream, Sum};

/// The other end of the next connection to `listener`: sends `bytes` bytes, then takes in what comes until whoever connected
/// is done. Tells the sum of what came, or of what was sent where anything was, and how long the connection lasted.
pub fn peer(listener: TcpListener, bytes: u64) -> JoinHandle<std::io::Result<(String, Duration)>> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let (start, mut source, mut sum) = (Instant::now(), Stream::new(bytes), Sum::default());
        while let Some(block) = source.next_block() {
            stream.write_all(block)?;
            sum.add(block);
        }
        if bytes > 0 {
            stream.shutdown(Shutdown::Write)?;
        }
        let mut block = vec![0; 64 << 10];
        while let count @ 1.. = stream.read(&mut block)? {
            sum.add(&block[..count]);
        }
        Ok((sum.line(), start.elapsed()))
    })
}

/// Sends `bytes` bytes and waits until the other end has closed.
pub(super) fn send(to: SocketAddr, bytes: u64) -> Result<String> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
    let (mut source, mut sum) = (Stream::new(bytes), Sum::default());
    while let Some(block) = source.next_block() {
        stream.write_all(block).context("send")?;
        sum.add(block);
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).context("wait for the end")?;
    Ok(sum.line())
}

/// Receives to the end.
pub(super) fn receive(from: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(from).with_context(|| format!("connect to {from}"))?;
    let (mut block, mut sum) = (vec![0; 256 << 10], Sum::default());
    loop {
        match stream.read(&mut block).context("receive")? {
            0 => return Ok(sum.line()),
            count => sum.add(&block[..count]),
        }
    }
}
