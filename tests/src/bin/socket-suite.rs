//! The suite of socket operations, and the peer it needs; runs on the host and in guests. Needs root.

#![allow(clippy::print_stdout, reason = "the outcome is this program's output")]

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use monocore_tests::socket_suite::{Target, peer, run};

const USAGE: &str = "usage: socket-suite peer PORT BACK-V4 BACK-V6 ADDRESS…\n       \
                     socket-suite run PORT INBOUND-PORT PEER-V4 PEER-V6 [GROUP]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("socket-suite: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[&str]) -> Result<bool> {
    match arguments {
        ["peer", port, v4, v6, addresses @ ..] => {
            let back: [IpAddr; 2] = [v4.parse().context("BACK-V4")?, v6.parse().context("BACK-V6")?];
            for address in addresses {
                let address = address.parse().context("ADDRESS")?;
                peer::serve(address, port.parse().context("PORT")?, back)
                    .with_context(|| format!("serve {address}"))?;
            }
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        ["run", port, inbound, v4, v6, rest @ ..] => {
            let target = |peer: &str| -> Result<Target> {
                let peer = peer.parse().context("PEER")?;
                Ok(Target { peer, port: port.parse()?, inbound: inbound.parse()? })
            };
            let targets = [target(v4)?, target(v6)?];
            Ok(run(&targets, rest.first().copied(), std::io::stdout().lock())?)
        }
        _ => bail!(USAGE),
    }
}
