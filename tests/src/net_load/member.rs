//! Two members of a group: one serves, the other one visits it by name and checks what it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt;

use super::{Stream, Sum, crowd, ordinary};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says `ready`, then serves at `port`: datagrams come back, and each connection does what its first byte says. At `port` + 2 a
/// crowd's questions come back.
pub(super) fn serve(port: u16) -> Result<String> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    let last = Arc::new(Mutex::new(String::new()));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let last = Arc::clone(&last);
            // What goes wrong shows at the other end.
            thread::spawn(move || drop(one(stream, &last)));
        }
    });
    let crowd = TcpListener::bind(("0.0.0.0", port + 2))?;
    thread::spawn(move || {
        for mut stream in crowd.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut question = [0; 4];
                stream.read_exact(&mut question).and_then(|()| stream.write_all(&question))
            });
        }
    });
    ordinary::echo(port)
}

fn one(mut stream: TcpStream, last: &Mutex<String>) -> Result<()> {
    let mut order = [0];
    stream.read_exact(&mut order)?;
    match order[0] {
        // Take in all of it, then tell its sum.
        b'r' => {
            let sum = sum_of(&mut stream)?;
            stream.write_all(sum.as_bytes())?;
        }
        // Send so many bytes.
        b's' => {
            let mut count = [0; 8];
            stream.read_exact(&mut count)?;
            let mut source = Stream::new(u64::from_le_bytes(count));
            while let Some(block) = source.next_block() {
                stream.write_all(block)?;
            }
        }
        // Break off after a word.
        b'x' => {
            stream.write_all(b"word")?;
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            stream.read_exact(&mut [0])?;
        }
        // End this half first, and take in the other one.
        b'h' => {
            stream.write_all(b"half")?;
            stream.shutdown(Shutdown::Write)?;
            let how = sum_of(&mut stream).unwrap_or_else(|error| format!("{:?}", error.kind()));
            *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = how;
        }
        // How the last connection of that kind went.
        b'q' => {
            let said = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            stream.write_all(said.as_bytes())?;
        }
        other => bail!("no order {other}"),
    }
    Ok(())
}

fn sum_of(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut sum, mut block) = (Sum::default(), vec![0; 256 << 10]);
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(sum.line()),
            count => sum.add(&block[..count]),
        }
    }
}

/// Visits the member `name` at `port`: `bytes` bytes each way, ends of all kinds, datagrams, and `count` connections at once.
pub(super) fn visit(name: &str, port: u16, bytes: u64, count: usize) -> Result<String> {
    let to = resolve(name, port)?;
    upload(to, bytes).context("upload")?;
    download(to, bytes).context("download")?;
    halves(to).context("half-close")?;
    resets(to).context("reset")?;
    let nobody = SocketAddr::new(to.ip(), port + 1);
    let refused = TcpStream::connect(nobody).err().map(|error| error.kind());
    ensure!(refused == Some(ErrorKind::ConnectionRefused), "a port where nobody listens: {refused:?}");
    datagrams(to).context("datagrams")?;
    let crowd = crowd::at_once(SocketAddr::new(to.ip(), port + 2), count).context("crowd")?;
    Ok(format!("visited {}: {bytes} bytes each way, {crowd}", to.ip()))
}

/// The address of `name`.
pub(super) fn resolve(name: &str, port: u16) -> Result<SocketAddr> {
    let mut all = (name, port).to_socket_addrs().with_context(|| format!("look {name} up"))?;
    all.find(|address| matches!(address.ip(), IpAddr::V4(_))).context("no address")
}

fn connect(to: SocketAddr, order: u8) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[order])?;
    Ok(stream)
}

fn upload(to: SocketAddr, bytes: u64) -> Result<()> {
    let mut stream = connect(to, b'r')?;
    let (mut source, mut sum) = (Stream::new(bytes), Sum::default());
    while let Some(block) = source.next_block() {
        stream.write_all(block)?;
        sum.add(block);
    }
    stream.shutdown(Shutdown::Write)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    ensure!(said == sum.line(), "{said} arrived of {}", sum.line());
    Ok(())
}

fn download(to: SocketAddr, bytes: u64) -> Result<()> {
    let mut stream = connect(to, b's')?;
    stream.write_all(&bytes.to_le_bytes())?;
    let (mut source, mut sum) = (Stream::new(bytes), Sum::default());
    while let Some(block) = source.next_block() {
        sum.add(block);
    }
    let said = sum_of(&mut stream)?;
    ensure!(said == sum.line(), "{said} arrived of {}", sum.line());
    Ok(())
}

/// The other end closes its half first and reads on; then this one does.
fn halves(to: SocketAddr) -> Result<()> {
    let mut stream = connect(to, b'h')?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    ensure!(said == "half", "{said}");
    stream.write_all(b"still here")?;
    stream.shutdown(Shutdown::Write)?;
    drop(stream);
    await_last(to, "10 bytes")
}

/// A reset of either side is one for the other, whether the other half has ended or not.
fn resets(to: SocketAddr) -> Result<()> {
    for ended in [false, true] {
        let mut stream = connect(to, b'x')?;
        let mut word = [0; 4];
        stream.read_exact(&mut word)?;
        stream.write_all(b"!")?;
        if ended {
            stream.shutdown(Shutdown::Write)?;
        }
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => bail!("a reset arrives as {other:?}, this half ended: {ended}"),
        }
    }
    let mut stream = connect(to, b'h')?;
    stream.read_to_string(&mut String::new())?;
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    drop(stream);
    await_last(to, "ConnectionReset")
}

/// Waits until the server says that its last half-closed connection went so.
fn await_last(to: SocketAddr, expected: &str) -> Result<()> {
    for _ in 0..100 {
        let mut said = String::new();
        connect(to, b'q')?.read_to_string(&mut said)?;
        if said.starts_with(expected) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the other end did not see {expected}");
}

fn datagrams(to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = vec![0; 65_536];
    for length in [1, 100, 1_472, 9_000, 60_000] {
        let question: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
        socket.send(&question)?;
        let count = socket.recv(&mut answer).with_context(|| format!("{length} bytes"))?;
        ensure!(answer.get(..count) == Some(&question[..]), "{length} bytes come back as {count}");
    }
    Ok(())
}
