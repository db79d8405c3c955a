//! The way to the network from its specification: a card, or what the socket device carries sockets with.

use std::fs::File;
use std::net::IpAddr;

use monocore_net::{Endpoint, Net, NetConfig, Stream, Tap};
use monocore_proxy::{Nat, PortsHandle, Tsi, tsi};
use monocore_spec::{NetRate, NetRates, NetSpec, ProxySpec, TapRef};
use monocore_virtio::{Rate, Rates};
use monocore_vsock::{Limits, Vsock};

use super::make::Fail;
use crate::{Error, files};

/// A network card, and the way to its published ports if it has any.
///
/// # Errors
/// [`Error`], naming the port, interface or descriptor it is about.
pub(super) fn card(spec: &NetSpec, fail: &Fail) -> Result<(Net, Option<PortsHandle>), Error> {
    let mut ports = None;
    let endpoint: Box<dyn Endpoint> = match spec {
        NetSpec::Nat(nat) => {
            let (resolvers, receipts) = outside(&nat.proxy)?;
            let mut stack = Nat::new(nat, &resolvers, receipts).map_err(|e| fail.because(e))?;
            for port in &nat.proxy.bound {
                stack.publish(*port, files::descriptor(port.fd)?).map_err(|e| fail.because(e))?;
            }
            if let Some(peers) = &nat.proxy.peers {
                stack.join(&peers.groups, files::descriptor(peers.fd)?);
            }
            ports = Some(stack.ports());
            Box::new(stack)
        }
        NetSpec::Tap(tap) => {
            let end = match &tap.interface {
                TapRef::Name(name) => Tap::open(name),
                TapRef::Fd(number) => Tap::from_fd(files::descriptor(*number)?),
            };
            Box::new(end.map_err(|e| fail.because(e))?)
        }
        NetSpec::Passt(passt) => Box::new(Stream::new(files::descriptor(passt.fd)?)),
    };
    let card = Net::new(NetConfig { mac: spec.mac() }, endpoint).with_rates(rates(spec.rates()));
    Ok((card, ports))
}

/// What the socket device may keep for the guest, beside the connections of its own.
pub(super) fn limits(carries: Option<&ProxySpec>) -> Limits {
    let own = Limits::default();
    match carries {
        // Those that wait to be taken have no connection of the device's, and a datagram's flow has only its socket's.
        Some(proxy) => Limits { connections: own.connections + proxy.limits.connections as usize, ..own },
        None => own,
    }
}

fn rates(spec: NetRates) -> Rates {
    let rate =
        |rate: NetRate| Rate { bytes_per_second: rate.bytes_per_second, burst_bytes: rate.burst_bytes };
    Rates { from_guest: spec.from_guest.map(rate), to_guest: spec.to_guest.map(rate) }
}

/// The socket device with what carries the guest's own sockets, and the way to its published ports.
///
/// # Errors
/// [`Error`], naming the port it is about.
pub(super) fn carry(vsock: Vsock, spec: &ProxySpec, fail: &Fail) -> Result<(Vsock, PortsHandle), Error> {
    let (resolvers, receipts) = outside(spec)?;
    let mut front = Tsi::new(spec, &resolvers, receipts).map_err(|e| fail.because(e))?;
    for port in &spec.bound {
        front.publish(*port, files::descriptor(port.fd)?).map_err(|e| fail.because(e))?;
    }
    if let Some(peers) = &spec.peers {
        front.join(&peers.groups, files::descriptor(peers.fd)?);
    }
    let ports = front.ports();
    let vsock = vsock.with_front(tsi::PORT, Box::new(front)).with_rates(rates(spec.limits.rates));
    Ok((vsock, ports))
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
    fn a_socket_device_carries_sockets_if_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vsock");
        let made = |carries: &str| {
            let vsock =
                format!(r#"{{"guest_cid":3,"backend":{{"unix":{{"path":{path:?}}}}},"carries":{carries}}}"#);
            let text = format!(
                r#"{{"version":1,"name":"m","vcpus":1,"ram":{{"size_mib":32}},"kernel":{{"image":{{"fd":0}}}},
                    "devices":["rng",{{"vsock":{vsock}}}]}}"#
            );
            let spec: VmSpec = serde_json::from_str(&text).unwrap();
            let device = make_all(&spec, &mut Attachments::default()).unwrap().pop().unwrap();
            std::fs::remove_file(&path).unwrap();
            // VIRTIO_VSOCK_F_SEQPACKET.
            (device.kind, device.device.features() & 2, device.ports.is_some())
        };
        assert_eq!(made(r#"{"resolvers":["127.0.0.1"]}"#), (ThreadKind::Tsi, 2, true));
        assert_eq!(made("null"), (ThreadKind::Vsock, 0, false));
    }
}
