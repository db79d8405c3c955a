//! `port`: where on this machine a running sandbox's ports are published; `port add` and `port rm`.

use std::net::SocketAddr;

use anyhow::bail;
use monocore_orchestrator::{ControlClient, Home, NetworkRecord};
use monocore_spec::{Protocol, PublishedPort};

use super::args::{Format, PortArgs, PortChangeArgs, PortCommand, PortRmArgs};
use super::{named, output};

pub(super) fn main(args: &PortArgs) -> anyhow::Result<()> {
    match &args.command {
        Some(PortCommand::Add(change)) => add(change),
        Some(PortCommand::Rm(change)) => rm(change),
        Some(PortCommand::Ls(list)) => show(&list.sandbox, None, list.output.format),
        None => show(args.sandbox.as_deref().unwrap_or_default(), args.port, args.output.format),
    }
}

fn show(sandbox: &str, port: Option<(u16, Protocol)>, format: Format) -> anyhow::Result<()> {
    let record = named::running(&Home::locate()?, sandbox)?;
    let ports = published(&record.name, &record.network)?;
    let Some((number, protocol)) = port else {
        return output::listing(format, ports, |ports| {
            ports.iter().map(|port| format!("{} -> {}\n", guest(port), host(port))).collect()
        });
    };
    let found = places(ports, number, protocol);
    if found.is_empty() {
        bail!("port {number}/{} of sandbox {} is not published", protocol.name(), record.name);
    }
    output::listing(format, &found, |found| found.iter().map(|port| format!("{}\n", host(port))).collect())
}

/// Publishes ports; each is told as it is bound.
fn add(args: &PortChangeArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let record = named::running(&home, &args.sandbox)?;
    published(&record.name, &record.network)?;
    for port in args.ports.iter().flatten() {
        let port = ControlClient::connect(&home, &record)?.add_port(*port)?;
        output::print(&format!("{} -> {}\n", guest(&port), host(&port)))?;
    }
    Ok(())
}

fn rm(args: &PortRmArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let record = named::running(&home, &args.sandbox)?;
    published(&record.name, &record.network)?;
    for port in args.ports.iter().flatten() {
        ControlClient::connect(&home, &record)?.remove_port(*port)?;
    }
    Ok(())
}

/// The ports of the sandbox `name`, if it can have any.
fn published<'a>(name: &str, network: &'a NetworkRecord) -> anyhow::Result<&'a [PublishedPort]> {
    match network {
        NetworkRecord::Ours { ports, .. } => Ok(ports),
        NetworkRecord::None => bail!("sandbox {name} has no network"),
        NetworkRecord::Foreign => {
            bail!("the network of sandbox {name} is another program's (tap or passt), and so are its ports")
        }
    }
}

/// A port of the guest may be published in several places.
fn places(ports: &[PublishedPort], number: u16, protocol: Protocol) -> Vec<PublishedPort> {
    let same = |port: &&PublishedPort| (port.guest_port, port.protocol) == (number, protocol);
    ports.iter().filter(same).copied().collect()
}

fn guest(port: &PublishedPort) -> String {
    format!("{}/{}", port.guest_port, port.protocol.name())
}

fn host(port: &PublishedPort) -> SocketAddr {
    SocketAddr::new(port.address, port.host_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_by_number_and_protocol() {
        let port = |address: &str, host_port, protocol| PublishedPort {
            address: address.parse().unwrap(),
            host_port,
            guest_port: 53,
            protocol,
        };
        let ports = [
            port("127.0.0.1", 1, Protocol::Tcp),
            port("127.0.0.1", 2, Protocol::Udp),
            port("::1", 3, Protocol::Udp),
        ];
        let shown = |number, protocol| -> Vec<_> {
            places(&ports, number, protocol).iter().map(|port| host(port).to_string()).collect()
        };
        assert_eq!(shown(53, Protocol::Tcp), ["127.0.0.1:1"]);
        assert_eq!(shown(53, Protocol::Udp), ["127.0.0.1:2", "[::1]:3"]);
        assert!(shown(80, Protocol::Tcp).is_empty());
        assert_eq!(guest(&ports[1]), "53/udp");
    }

    #[test]
    fn who_has_no_ports_is_told_why() {
        let why = |network: &NetworkRecord| published("web", network).unwrap_err().to_string();
        assert_eq!(why(&NetworkRecord::None), "sandbox web has no network");
        assert!(why(&NetworkRecord::Foreign).contains("passt"));
        assert!(published("web", &NetworkRecord::Ours { ports: Vec::new(), log: None }).unwrap().is_empty());
    }
}
