//! `bench-load ADDRESS:PORT`: puts the load on a guest's network that the program at that address asks for.
//! `bench-load ADDRESS:PORT OWN`: is what another guest dials at port OWN, and has it carry that load.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;

use monocore_benches::load::{serve, serve_between};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let host = words.first().and_then(|text| text.parse::<SocketAddr>().ok());
    let port = words.get(1).map(|text| text.parse::<u16>()).transpose();
    let (Some(host), Ok(port)) = (host, port) else {
        eprintln!("usage: bench-load ADDRESS:PORT [OWN]");
        return ExitCode::from(2);
    };
    match run(host, port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(host: SocketAddr, port: Option<u16>) -> io::Result<()> {
    match port {
        Some(port) => serve_between(host, TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?),
        None => serve(host),
    }
}
