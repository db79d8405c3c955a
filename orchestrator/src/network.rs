//! A sandbox's network, made into the machine's and the guest's part of it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use monocore_protocol::{Configure, HostEntry, Interface, Resolver};
use monocore_spec::{
    LinkSpec, NatSpec, NetSpec, NetTarget, PasstSpec, PeersSpec, ProxySpec, Sink, TapRef, TapSpec,
};

use crate::spec::{NetworkMode, NetworkSpec};
use crate::{Error, JoinedGroup, Published, RunDir, log_file};

/// The card's address where there is nobody it could be taken for.
const NAT_MAC: [u8; 6] = [0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x02];
/// What the guest's kernel calls its first network card, and the interface that stands for sockets carried one by one.
const CARD: &str = "eth0";
const SOCKETS: &str = "tsi0";
/// Where a sandbox's decisions are written unless the user says where.
pub(crate) const LOG: &str = "net.jsonl";
/// How long that gets before it is begun anew, bytes: a guest must not fill the disk. Some 20,000 decisions.
const LOG_MAX_BYTES: u64 = 4 << 20;
/// What this host is called in a guest that may reach it.
const HOST_NAMES: [&str; 2] = ["host.monocore.internal", "host.docker.internal"];

/// A machine's way to the network.
pub(crate) enum MachineNetwork {
    None,
    /// By the socket device.
    Sockets(ProxySpec),
    /// By a device of its own.
    Card(NetSpec),
}

impl MachineNetwork {
    /// What the socket device carries, and the card.
    pub(crate) fn parts(self) -> (Option<ProxySpec>, Option<NetSpec>) {
        match self {
            Self::None => (None, None),
            Self::Sockets(proxy) => (Some(proxy), None),
            Self::Card(card) => (None, Some(card)),
        }
    }
}

/// The machine's part of `spec`; `keep` keeps a descriptor open for it and gives its number.
///
/// # Errors
/// A socket cannot be connected, or a file not opened.
pub(crate) fn machine(
    spec: &NetworkSpec,
    run_dir: &RunDir,
    (published, line): (Published, Option<OwnedFd>),
    mut keep: impl FnMut(OwnedFd) -> i32,
) -> Result<MachineNetwork, Error> {
    Ok(match &spec.mode {
        NetworkMode::None => MachineNetwork::None,
        NetworkMode::Nat => MachineNetwork::Card(NetSpec::Nat(NatSpec {
            mac: NAT_MAC,
            proxy: proxy(spec, run_dir, (published, line), &mut keep)?,
        })),
        NetworkMode::Tsi => MachineNetwork::Sockets(proxy(spec, run_dir, (published, line), &mut keep)?),
        NetworkMode::Tap(name) => MachineNetwork::Card(NetSpec::Tap(TapSpec {
            mac: random_mac()?,
            interface: TapRef::Name(name.clone()),
            rates: spec.limits.rates,
        })),
        NetworkMode::Passt(path) => MachineNetwork::Card(NetSpec::Passt(PasstSpec {
            mac: random_mac()?,
            fd: keep(connect(path)?),
            rates: spec.limits.rates,
        })),
    })
}

fn proxy(
    spec: &NetworkSpec,
    run_dir: &RunDir,
    (published, line): (Published, Option<OwnedFd>),
    keep: &mut impl FnMut(OwnedFd) -> i32,
) -> Result<ProxySpec, Error> {
    let path = spec.log.clone().unwrap_or_else(|| run_dir.path().join(LOG));
    let log = log_file::open(&path, false).map_err(Error::file("open", &path))?;
    Ok(ProxySpec {
        policy: spec.policy.clone(),
        resolvers: spec.dns.clone(),
        bound: published.hand_over(&mut *keep),
        receipts: Sink::Fd(keep(log.into())),
        receipts_max_bytes: if spec.log.is_some() { spec.log_max_bytes } else { Some(LOG_MAX_BYTES) },
        limits: spec.limits,
        peers: line.map(|line| PeersSpec {
            fd: keep(line),
            groups: run_dir.groups().iter().map(JoinedGroup::address).collect(),
        }),
        ..ProxySpec::default()
    })
}

/// The name of the guest's interface in a network that monocore makes.
pub(crate) fn interface(mode: &NetworkMode) -> &'static str {
    if *mode == NetworkMode::Tsi { SOCKETS } else { CARD }
}

/// The guest's part: what its card is called to be, and where it asks for names.
pub(crate) fn guest(spec: &NetworkSpec, groups: &[JoinedGroup], configure: &mut Configure) {
    let search = spec.dns_search.clone();
    match spec.mode {
        NetworkMode::Nat | NetworkMode::Tsi => {
            let link = LinkSpec::default();
            let mut addresses =
                vec![(link.guest_v4.into(), link.prefix_v4), (link.guest_v6.into(), link.prefix_v6)];
            addresses.extend(groups.iter().map(|group| (group.address.into(), group.prefix)));
            configure.interface = Some(Interface {
                name: interface(&spec.mode).into(),
                addresses,
                gateways: vec![link.gateway_v4.into(), link.gateway_v6.into()],
                mtu: Some(link.mtu.into()),
            });
            configure.resolver = Some(Resolver {
                servers: vec![link.gateway_v4.into()],
                search,
                options: spec.dns_options.clone(),
            });
            if spec.policy.rules.iter().any(|rule| rule.target == NetTarget::Host) {
                let names = HOST_NAMES.map(str::to_owned).to_vec();
                configure.hosts.push(HostEntry { address: link.gateway_v4.into(), names });
            }
        }
        NetworkMode::None | NetworkMode::Tap(_) | NetworkMode::Passt(_)
            if !spec.dns.is_empty() || !search.is_empty() || !spec.dns_options.is_empty() =>
        {
            configure.resolver =
                Some(Resolver { servers: spec.dns.clone(), search, options: spec.dns_options.clone() });
        }
        // Whoever is at the card's other end tells the guest its address.
        NetworkMode::Tap(_) | NetworkMode::Passt(_) | NetworkMode::None => {}
    }
}

fn connect(path: &Path) -> Result<OwnedFd, Error> {
    let socket = UnixStream::connect(path).map_err(Error::file("connect to", path))?;
    Ok(socket.into())
}

/// A card's address that others on its network are unlikely to have: locally administered, of one host.
fn random_mac() -> Result<[u8; 6], Error> {
    let mut mac = [0; 6];
    rustix::rand::getrandom(&mut mac[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::file("read", "/dev/urandom")(errno.into()))?;
    mac[0] = mac[0] & 0xfc | 0x02;
    Ok(mac)
}
