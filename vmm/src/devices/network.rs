//! The way to the network from its specification: a card, or what the socket device carries sockets with.

use std::fs::File;
use std::net::IpAddr;

use monocore_net::{Endpoint, Net, NetConfig, Stream, Tap};
use monocore_proxy::{Nat, PortsHandle, Tsi, tsi};
use monocore_spec::{NetLimits, NetRate, NetRates, Network, ProxySpec, TapRef};
use monocore_virtio::{Rate, Rates, VirtioDevice};
use monocore_vsock::{Limits, Vsock};

use super::make::{Fail, Made};
use crate::attachments::ThreadKind;
use crate::{Error, files};

/// The card of `network`, if there is one; `index` is its place on the bus.
///
/// # Errors
/// [`Error`], naming the port, interface or descriptor it is about.
pub(super) fn make(index: usize, network: &Network) -> Result<Option<Made>, Error> {
    let Some(kind) = ThreadKind::of_network(network) else { return Ok(None) };
    let fail = Fail { index, kind: kind.name() };
    let mut ports = None;
    let (mac, endpoint): (_, Box<dyn Endpoint>) = match network {
        Network::None | Network::Tsi(_) => return Ok(None),
        Network::Nat(nat) => {
            let (resolvers, receipts) = outside(&nat.proxy)?;
            let mut stack = Nat::new(nat, &resolvers, receipts).map_err(|e| fail.because(e))?;
            for port in &nat.proxy.bound {
                stack.publish(*port, files::descriptor(port.fd)?).map_err(|e| fail.because(e))?;
            }
            if let Some(peers) = &nat.proxy.peers {
                stack.join(&peers.groups, files::descriptor(peers.fd)?);
            }
            ports = Some(stack.ports());
            (nat.mac, Box::new(stack))
        }
        Network::Tap(tap) => {
            let end = match &tap.interface {
                TapRef::Name(name) => Tap::open(name),
                TapRef::Fd(number) => Tap::from_fd(files::descriptor(*number)?),
            };
            (tap.mac, Box::new(end.map_err(|e| fail.because(e))?))
        }
        Network::Passt(passt) => (passt.mac, Box::new(Stream::new(files::descriptor(passt.fd)?))),
    };
    let card = Net::new(NetConfig { mac }, endpoint).with_rates(rates(network.rates()));
    let card: Box<dyn VirtioDevice> = Box::new(card);
    let counters = card.counters();
    Ok(Some(Made { kind, device: card, shares: None, ports, counters }))
}

/// What the socket device may keep for the guest, beside the connections of its own.
pub(super) fn limits(network: &Network) -> Limits {
    let own = Limits::default();
    match network {
        Network::Tsi(ProxySpec { limits: NetLimits { connections, .. }, .. }) => {
            // Those that wait to be taken have no connection of the device's, and a datagram's flow has only its socket's.
            Limits { connections: own.connections + *connections as usize, ..own }
        }
        _ => own,
    }
}

fn rates(spec: NetRates) -> Rates {
    let rate =
        |rate: NetRate| Rate { bytes_per_second: rate.bytes_per_second, burst_bytes: rate.burst_bytes };
    Rates { from_guest: spec.from_guest.map(rate), to_guest: spec.to_guest.map(rate) }
}

/// The socket device with what carries the guest's own sockets, if `network` says so, and the way to its published ports.
///
/// # Errors
/// [`Error`], naming the port it is about.
pub(super) fn carry(
    vsock: Vsock,
    network: &Network,
    fail: &Fail,
) -> Result<(Vsock, Option<PortsHandle>), Error> {
    let Network::Tsi(spec) = network else { return Ok((vsock, None)) };
    let (resolvers, receipts) = outside(spec)?;
    let mut front = Tsi::new(spec, &resolvers, receipts).map_err(|e| fail.because(e))?;
    for port in &spec.bound {
        front.publish(*port, files::descriptor(port.fd)?).map_err(|e| fail.because(e))?;
    }
    if let Some(peers) = &spec.peers {
        front.join(&peers.groups, files::descriptor(peers.fd)?);
    }
    let ports = front.ports();
    let vsock = vsock.with_front(tsi::PORT, Box::new(front)).with_rates(rates(network.rates()));
    Ok((vsock, Some(ports)))
}

/// Where names are asked for, and where decisions are written.
fn outside(spec: &ProxySpec) -> Result<(Vec<IpAddr>, Option<File>), Error> {
    let receipts = files::open_sink(&spec.receipts)?;
    let resolvers =
        if spec.resolvers.is_empty() { monocore_proxy::host_resolvers() } else { spec.resolvers.clone() };
    Ok((resolvers, receipts))
}

#[cfg(test)]
mod tests {
    use monocore_spec::VmSpec;

    use super::super::make_all;
    use crate::attachments::{Attachments, ThreadKind};

    #[test]
    fn sockets_are_carried_by_the_socket_device_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let made = |devices: &str| {
            let text = format!(
                r#"{{"version":1,"name":"m","vcpus":1,"ram":{{"size_mib":32}},"kernel":{{"image":{{"fd":0}}}},
                    "devices":[{devices}],"network":{{"tsi":{{"resolvers":["127.0.0.1"]}}}}}}"#
            );
            let spec: VmSpec = serde_json::from_str(&text).unwrap();
            make_all(&spec, &mut Attachments::default())
        };
        let path = dir.path().join("vsock");
        let vsock = format!(r#"{{"vsock":{{"guest_cid":3,"backend":{{"unix":{{"path":{path:?}}}}}}}}}"#);
        let devices = made(&format!(r#""rng",{vsock}"#)).unwrap();
        assert_eq!(devices.len(), 2, "no card");
        assert_eq!(devices[1].kind, ThreadKind::Tsi);
        // VIRTIO_VSOCK_F_SEQPACKET.
        assert_ne!(devices[1].device.features() & 2, 0);
        assert!(made(r#""rng""#).is_err());
    }
}
