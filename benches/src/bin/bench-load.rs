//! `bench-load ADDRESS:PORT`: puts the load on a guest's network that the program at that address asks for.

use std::net::SocketAddr;
use std::process::ExitCode;

fn main() -> ExitCode {
    let host = std::env::args().nth(1).and_then(|text| text.parse::<SocketAddr>().ok());
    let Some(host) = host else {
        eprintln!("usage: bench-load ADDRESS:PORT");
        return ExitCode::from(2);
    };
    match monocore_benches::load::serve(host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}
