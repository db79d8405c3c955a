//! The machine control channel: what a supervisor asks of a running machine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use monocore_channel::{Answerer, DeviceCounters, MachineCounters, MachineReply, MachineRequest, Question};
use monocore_hypervisor::Hypervisor;
use monocore_spec::Protocol;
use rustix::time::{ClockId, clock_gettime};

use super::{Metrics, Running};
use crate::Error;

/// Serves a supervisor's requests, on the thread that waits for the machine's end.
#[derive(Debug)]
pub(crate) struct MachineService(Answerer<MachineRequest, MachineReply>);

impl AsFd for MachineService {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl MachineService {
    /// Takes over the machine's end of the channel.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(Answerer::new(socket))
    }

    /// Serves one request of `running`'s supervisor if there is one; nothing is given back when there will be no more.
    pub(super) fn serve<H: Hypervisor>(
        self,
        running: &Running<H>,
        lifeline: Option<BorrowedFd<'_>>,
    ) -> Option<Self> {
        let (number, request, descriptors) = match self.0.question() {
            Question::Nothing => return Some(self),
            Question::Closed => return None,
            Question::Asked(number, request, descriptors) => (number, request, descriptors),
        };
        let reply = match request {
            Ok(request) => reply(running, lifeline, request, descriptors),
            Err(malformed) => MachineReply::Refused(malformed.to_string()),
        };
        match self.0.answer(number, &reply, &[]) {
            Ok(()) => Some(self),
            Err(error) => {
                // A request must not stay without a reply, so no more are taken.
                tracing::error!(%error, "the control channel is closed");
                None
            }
        }
    }
}

fn reply<H: Hypervisor>(
    running: &Running<H>,
    lifeline: Option<BorrowedFd<'_>>,
    request: MachineRequest,
    mut descriptors: Vec<OwnedFd>,
) -> MachineReply {
    let refused = |text: &str| MachineReply::Refused(text.to_owned());
    let has_descriptor = matches!(
        request,
        MachineRequest::AddShare { .. } | MachineRequest::InboundPeer(_) | MachineRequest::AddPort { .. }
    );
    let expected = usize::from(has_descriptor);
    if descriptors.len() != expected {
        return refused("not as many descriptors as the request needs");
    }
    let done = |result: Result<(), Error>| match result {
        Ok(()) => MachineReply::Done,
        Err(error) => MachineReply::Refused(error.to_string()),
    };
    match request {
        MachineRequest::Ping => MachineReply::Done,
        MachineRequest::Metrics => MachineReply::Counters(counters(&running.metrics())),
        MachineRequest::Pause => done(running.pause_unless_cut(lifeline)),
        MachineRequest::Resume => done(running.resume()),
        MachineRequest::AddShare { name, read_only } => match (running.shares(), descriptors.pop()) {
            (Some(shares), Some(root)) => done(shares.add(&name, root, read_only)),
            _ => refused("the machine has no file device"),
        },
        MachineRequest::RemoveShare { name } => match running.shares() {
            Some(shares) => done(shares.remove(&name)),
            None => refused("the machine has no file device"),
        },
        MachineRequest::AddPort { address, is_udp, guest_port } => match (running.ports(), descriptors.pop())
        {
            (Some(ports), Some(socket)) => match ports.add(socket, address, protocol(is_udp), guest_port) {
                Ok(()) => MachineReply::Done,
                Err(error) => refused(&error.to_string()),
            },
            _ => refused("the machine publishes no ports"),
        },
        MachineRequest::RemovePort { address, is_udp } => {
            match running.ports().map(|ports| ports.remove(address, protocol(is_udp))) {
                Some(Ok(true)) => MachineReply::Done,
                Some(Ok(false)) | None => refused("no such port is published"),
                Some(Err(error)) => refused(&error.to_string()),
            }
        }
        MachineRequest::InboundPeer(_) => refused("the machine takes no connections from peers"),
    }
}

fn protocol(is_udp: bool) -> Protocol {
    if is_udp { Protocol::Udp } else { Protocol::Tcp }
}

/// What travels of a machine's metrics.
fn counters(metrics: &Metrics) -> MachineCounters {
    let bus = &metrics.bus;
    let named = |(name, value): (&str, u64)| (name.to_owned(), value);
    let bus = [
        ("port_reads", bus.port_reads),
        ("port_writes", bus.port_writes),
        ("mmio_reads", bus.mmio_reads),
        ("mmio_writes", bus.mmio_writes),
        ("unanswered", bus.unanswered),
    ];
    let devices = metrics.devices.iter().map(|device| DeviceCounters {
        kind: device.kind.to_owned(),
        counters: device.counters.iter().copied().map(named).collect(),
    });
    MachineCounters {
        cpu_ns: cpu_ns(),
        bus: bus.into_iter().map(named).collect(),
        devices: devices.collect(),
    }
}

/// Processor time of this process.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec))
}
