//! The network card from its specification.

use monocore_net::{Endpoint, Net, NetConfig, Stream, Tap};
use monocore_proxy::Nat;
use monocore_spec::{NatSpec, Network, TapRef};
use monocore_virtio::VirtioDevice;

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
    let (mac, endpoint): (_, Box<dyn Endpoint>) = match network {
        Network::None => return Ok(None),
        Network::Nat(nat) => (nat.mac, Box::new(stack(nat, &fail)?)),
        Network::Tap(tap) => {
            let end = match &tap.interface {
                TapRef::Name(name) => Tap::open(name),
                TapRef::Fd(number) => Tap::from_fd(files::descriptor(*number)?),
            };
            (tap.mac, Box::new(end.map_err(|e| fail.because(e))?))
        }
        Network::Passt(passt) => (passt.mac, Box::new(Stream::new(files::descriptor(passt.fd)?))),
    };
    let card: Box<dyn VirtioDevice> = Box::new(Net::new(NetConfig { mac }, endpoint));
    let counters = card.counters();
    Ok(Some(Made { kind, device: card, shares: None, counters }))
}

fn stack(spec: &NatSpec, fail: &Fail) -> Result<Nat, Error> {
    let receipts = files::open_sink(&spec.receipts)?;
    let resolvers =
        if spec.resolvers.is_empty() { monocore_proxy::host_resolvers() } else { spec.resolvers.clone() };
    Nat::new(spec, &resolvers, receipts).map_err(|e| fail.because(e))
}
