//! Either end of a Unix socket, in a guest: `unix-socket ask PATH TEXT` says a text and prints the answer,
//! `unix-socket serve PATH` says `ready` and sends each client back what it said.

#![allow(clippy::print_stdout, reason = "the answer is this program's output")]

use std::io::{Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ask", path, text] => ask(path, text),
        ["serve", path] => serve(path),
        _ => Err(std::io::Error::other("usage: unix-socket ask PATH TEXT | serve PATH")),
    }
}

fn ask(path: &str, text: &str) -> Result<()> {
    let mut socket = UnixStream::connect(path)?;
    socket.write_all(text.as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    println!("{answer}");
    Ok(())
}

fn serve(path: &str) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    println!("ready");
    loop {
        let (mut client, _) = listener.accept()?;
        let mut said = Vec::new();
        client.read_to_end(&mut said)?;
        client.write_all(&said)?;
    }
}
