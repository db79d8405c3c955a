//! Many bytes one way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use anyhow::{Context, Result};

use super::{Stream, Sum};

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
