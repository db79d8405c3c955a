//! Who is at the device: its own thread for a turn, or a vCPU's that has a packet for a socket.
//!
//! A guest that sends or reads a stream rings, and its CPU is in the hypervisor's hands anyway. If nobody is at the device that
//! thread gives the packet to its socket itself: the device's thread need not wake for it, and where the guest waits for the
//! packet's end need not wake the vCPU's in turn. It does what streams that are there need and nothing else; the rest, and
//! whatever has to wait, is the device's thread's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use monocore_virtio::{Chain, Poller, QueueState, Ready, RingServer, Service, ServiceError};

use crate::backend::Backend;
use crate::device::{FrontPort, Metrics};
use crate::outbound::Takes;
use crate::run::{Locked, Running};
use crate::service::{Taken, VsockService};
use crate::session::Session;

/// The transmit queue's number (VIRTIO 1.3 §5.10.2).
const TRANSMIT: u16 = 1;
/// Packets taken on a vCPU's thread, which has a guest to run.
const VCPU_PACKETS: usize = 16;

/// What the device keeps from one run to the next, and the present one.
pub(crate) struct State {
    pub(crate) session: Session,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) front: Option<FrontPort>,
    run: Option<Arc<Running>>,
    /// Where descriptors are watched, once the device's thread has begun.
    poller: Option<Poller>,
    /// Until when the device's thread sleeps, if it does; without end where that is `None`.
    asleep: Option<Option<Instant>>,
    /// What a vCPU's thread met, for the device's to report.
    error: Option<ServiceError>,
}

/// The device's state, for one thread at a time.
pub(crate) struct Shared {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

impl State {
    /// Has `work` done on the present run; `None` where there is none.
    fn with<T>(&mut self, metrics: &Metrics, work: impl FnOnce(&mut VsockService<'_, '_>) -> T) -> Option<T> {
        let run = Arc::clone(self.run.as_ref()?);
        Some(run.with_dependent(|_, run| self.with_run(run, metrics, work)))
    }

    fn with_run<'m, T>(
        &mut self,
        run: &Locked<'m>,
        metrics: &Metrics,
        work: impl FnOnce(&mut VsockService<'m, '_>) -> T,
    ) -> T {
        let Self { session, backend, front, .. } = self;
        let run = &mut run.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut VsockService { run, session, backend: backend.as_mut(), front: front.as_mut(), metrics })
    }
}

impl Shared {
    pub(crate) fn new(session: Session, backend: Box<dyn Backend>, metrics: Arc<Metrics>) -> Self {
        let state =
            State { session, backend, front: None, run: None, poller: None, asleep: None, error: None };
        Self { state: Mutex::new(state), metrics }
    }

    /// The state. A thread that panicked leaves session and backend as usable as any error does.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a run.
    pub(crate) fn begin_run(&self, run: Running) {
        let mut state = self.lock();
        state.run = Some(Arc::new(run));
        (state.poller, state.asleep, state.error) = (None, None, None);
        self.state.clear_poison();
    }

    /// Ends the run and gives back where its queues stand; the device's thread has ended.
    pub(crate) fn end_run(&self) -> Vec<QueueState> {
        let mut state = self.lock();
        let states = state.with(&self.metrics, |service| {
            if let Err(error) = service.settle() {
                tracing::warn!(device = "vsock", %error, "chains cannot be given back");
            }
            service.run.queue_states()
        });
        (state.run, state.poller) = (None, None);
        states.unwrap_or_default()
    }
}

/// What the device's thread does.
impl Service for &Shared {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let mut state = self.lock();
        state.poller = Some(poller.clone());
        state.with(&self.metrics, |service| service.begin(poller)).unwrap_or(Ok(()))
    }

    fn turn(&mut self, poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError> {
        let mut state = self.lock();
        state.asleep = None;
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        state.with(&self.metrics, |service| service.turn(poller, ready)).unwrap_or(Ok(()))
    }

    fn deadline(&self) -> Option<Instant> {
        let mut state = self.lock();
        let until = state.with(&self.metrics, |service| service.deadline()).flatten();
        state.asleep = Some(until);
        until
    }
}

/// What a vCPU's thread does.
impl RingServer for Shared {
    fn serves(&self, index: u16) -> bool {
        index == TRANSMIT
    }

    fn ring(&self, index: u16) -> bool {
        // Whoever is at the device is told by the doorbell.
        let Ok(state) = self.state.try_lock() else { return false };
        match state.run.clone().filter(|_| index == TRANSMIT) {
            Some(run) => run.with_dependent(|_, locked| self.serve_vcpu(state, &run, locked)),
            None => false,
        }
    }
}

impl Shared {
    /// Takes the packets that a vCPU's thread may, and says whether the device's thread may go on sleeping. Nobody waits while
    /// bytes are sent.
    fn serve_vcpu<'s, 'm>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        run: &Arc<Running>,
        locked: &Locked<'m>,
    ) -> bool {
        let Some(poller) = state.poller.clone().filter(|_| state.error.is_none()) else { return false };
        let mut packet =
            state.with_run(locked, &self.metrics, |service| std::mem::take(&mut service.run.packet));
        for _ in 0..VCPU_PACKETS {
            let taken = state.with_run(locked, &self.metrics, |service| {
                service.take_next(&poller, &mut packet, Takes::OfStreams)
            });
            let gone_on = match taken {
                Ok(Taken::One) => Ok(()),
                Ok(Taken::None) => return state.end_on_vcpu(locked, packet, &self.metrics),
                Ok(Taken::Left) => break,
                Ok(Taken::Send(id, stream)) => {
                    drop(state);
                    let sent = packet.readable.send(&stream);
                    drop(stream);
                    state = self.lock();
                    if !state.run.as_ref().is_some_and(|present| Arc::ptr_eq(present, run)) {
                        // The driver has reset the device meanwhile, and takes back what it gave.
                        return true;
                    }
                    state.with_run(locked, &self.metrics, |service| {
                        service.sent(&poller, id, &mut packet, sent)
                    })
                }
                Err(error) => Err(error),
            };
            if let Err(error) = gone_on {
                state.error = Some(error);
                return false;
            }
        }
        state.end_on_vcpu(locked, packet, &self.metrics);
        false
    }
}

impl State {
    /// Gives the guest what there is for it, and says whether the device's thread may go on sleeping as it does.
    fn end_on_vcpu<'m>(&mut self, run: &Locked<'m>, packet: Chain<'m>, metrics: &Metrics) -> bool {
        let asleep = self.asleep;
        let ended = self.with_run(run, metrics, |service| {
            service.run.packet = packet;
            service.end_turn()?;
            let deadline = service.deadline();
            let in_time = match asleep {
                Some(until) => deadline.is_none_or(|deadline| until.is_some_and(|until| until <= deadline)),
                // It looks for itself before it sleeps.
                None => true,
            };
            Ok(in_time && !service.session.owes_front())
        });
        ended.unwrap_or_else(|error| {
            self.error = Some(error);
            false
        })
    }
}
