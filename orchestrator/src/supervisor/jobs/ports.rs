//! Published ports that come and go while the sandbox runs.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monocore_channel::{MachineReply, MachineRequest};
use monocore_spec::{Protocol, PublishedPort};

use super::{Jobs, News, Next, Work};
use crate::control::{Conflict, ControlPeer, ControlReply};
use crate::run_dir;

/// How long the machine may take; it only changes a table.
const PORT_GRACE: Duration = Duration::from_secs(10);

/// A wish about one port.
#[derive(Debug)]
pub(super) enum PortWork {
    Add(PublishedPort),
    Remove(PublishedPort),
}

impl Jobs {
    /// Publishes `port` through `socket`, and tells `peer` when clients reach it.
    pub(in crate::supervisor) fn add_port(
        &mut self,
        peer: Arc<ControlPeer>,
        port: PublishedPort,
        socket: &OwnedFd,
    ) {
        let request = MachineRequest::AddPort {
            address: address(&port),
            is_udp: port.protocol == Protocol::Udp,
            guest_port: port.guest_port,
        };
        let id = self.begin(Some(peer), PORT_GRACE, Work::Port(PortWork::Add(port)));
        self.ask_machine(id, &request, &[socket.as_fd()]);
    }

    /// Closes `port`, and tells `peer` when nobody is accepted there any more.
    pub(in crate::supervisor) fn remove_port(&mut self, peer: Arc<ControlPeer>, port: PublishedPort) {
        let known = run_dir::ports(&self.run_dir);
        let Some(port) = known.into_iter().find(|known| is_same(known, &port)) else {
            return peer.reply(&ControlReply::Conflict(Conflict::NoPort));
        };
        let request =
            MachineRequest::RemovePort { address: address(&port), is_udp: port.protocol == Protocol::Udp };
        let id = self.begin(Some(peer), PORT_GRACE, Work::Port(PortWork::Remove(port)));
        self.ask_machine(id, &request, &[]);
    }
}

impl PortWork {
    pub(super) fn next(self, news: News, dir: &Path) -> Next {
        let problem = match news {
            News::Machine(Ok(MachineReply::Done)) => {
                let mut ports = run_dir::ports(dir);
                match &self {
                    Self::Add(port) => ports.push(*port),
                    Self::Remove(port) => ports.retain(|other| other != port),
                }
                match run_dir::write_ports(dir, &ports) {
                    Ok(()) => return Next::Done(ControlReply::Done),
                    Err(error) => format!("it is done, and listings do not show it: {error}"),
                }
            }
            News::Machine(Ok(MachineReply::Refused(problem)) | Err(problem)) => problem,
            News::Machine(Ok(_)) | News::Guest(_) => "the wrong answer came".to_owned(),
            News::Late => "no answer in time".to_owned(),
        };
        Next::Done(ControlReply::Refused(problem))
    }
}

fn address(port: &PublishedPort) -> SocketAddr {
    SocketAddr::new(port.address, port.host_port)
}

/// Whether both are one place on this host; what is asked for may leave the guest's port open (0).
fn is_same(known: &PublishedPort, asked: &PublishedPort) -> bool {
    address(known) == address(asked)
        && known.protocol == asked.protocol
        && (asked.guest_port == 0 || asked.guest_port == known.guest_port)
}
