//! What a guest does to a network beside asking its sockets for answers: much of it, many of them, names, and attacks.
//!
//! Each command does one thing and prints one line about it, for a test on the host to compare.

mod crowd;
mod frames;
mod hostile;
mod member;
mod names;
mod ordinary;
mod sys;
mod transfer;

pub use transfer::peer;

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use twox_hash::XxHash64;

/// How the program is called.
pub const USAGE: &str = "usage: net-load send ADDRESS:PORT BYTES\n\
       net-load receive ADDRESS:PORT\n\
       net-load crowd ADDRESS:PORT CONNECTIONS\n\
       net-load churn ADDRESS:PORT CONNECTIONS OBSERVER:PORT\n\
       net-load ask SERVER NAME udp|edns|tcp\n\
       net-load echo PORT\n\
       net-load ordinary\n\
       net-load serve PORT\n\
       net-load visit NAME PORT BYTES CONNECTIONS\n\
       net-load reach ADDRESS:PORT…\n\
       net-load attack ROUNDS PORT…\n\
       net-load attack-names SERVER ROUNDS PORT NAME…\n\
       net-load attack-frames ROUNDS PORT";

/// Does what the arguments say; gives the line to print.
///
/// # Errors
/// The network does not do what is asked of it.
pub fn run(arguments: &[&str]) -> Result<String> {
    match arguments {
        ["send", to, bytes] => transfer::send(address(to)?, bytes.parse()?),
        ["receive", from] => transfer::receive(address(from)?),
        ["crowd", to, count] => crowd::at_once(address(to)?, count.parse()?),
        ["churn", to, count, observer] => {
            crowd::one_after_another(address(to)?, count.parse()?, address(observer)?)
        }
        ["ask", server, name, way] => names::ask(ip(server)?, name, way),
        ["echo", port] => ordinary::echo(port.parse()?),
        ["ordinary"] => Ok(ordinary::rights()),
        ["serve", port] => member::serve(port.parse()?),
        ["visit", name, port, bytes, count] => {
            member::visit(name, port.parse()?, bytes.parse()?, count.parse()?)
        }
        ["reach", targets @ ..] => {
            let targets = targets.iter().map(|target| address(target)).collect::<Result<Vec<_>>>()?;
            Ok(hostile::targets(&targets))
        }
        ["attack", rounds, ports @ ..] => {
            let ports = ports.iter().map(|port| port.parse()).collect::<Result<Vec<u16>, _>>()?;
            Ok(hostile::addresses(rounds.parse()?, &ports))
        }
        ["attack-names", server, rounds, port, names @ ..] => {
            hostile::names(ip(server)?, rounds.parse()?, port.parse()?, names)
        }
        ["attack-frames", rounds, port] => frames::attack(rounds.parse()?, port.parse()?),
        _ => bail!(USAGE),
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("{text} is no address with a port"))
}

fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| format!("{text} is no address"))
}

/// A hash of a stream and its length, both ends' to compare.
#[derive(Default)]
pub struct Sum {
    hash: XxHash64,
    bytes: u64,
}

impl Sum {
    /// Takes in what follows.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The line both ends print.
    pub fn line(&self) -> String {
        format!("{} bytes, hash {:016x}", self.bytes, self.hash.finish())
    }
}

/// The bytes of a long stream, in blocks.
pub struct Stream {
    left: u64,
    block: Vec<u8>,
}

impl Stream {
    /// `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        // No block of it looks like another: 251 is prime.
        let block = (0..257 * 1024u32).map(|at| u8::try_from((at ^ at >> 8) % 251).unwrap_or(0)).collect();
        Self { left: bytes, block }
    }

    /// The next block, a different one each time.
    pub fn next_block(&mut self) -> Option<&[u8]> {
        if self.left == 0 {
            return None;
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.block.len());
        let stamp = self.left.to_le_bytes();
        let at = stamp.len().min(length);
        self.block[..at].copy_from_slice(&stamp[..at]);
        self.left -= length as u64;
        Some(&self.block[..length])
    }
}

/// Numbers that look random and are the same each time (PCG's multiplier).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// One below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}
