//! Everything of the agent that waits for a stream: connections being dialled, and pumps.

use monocore_protocol::{ExecId, Opening, Stream, StreamId};
use rustix::fd::OwnedFd;

use std::time::Instant;

use super::dial::{self, Dialer};
use super::poller::{Poller, Readiness, Token};
use super::pump::{Progress, Pump};
use super::sockets::{self, Accepted, Gate, Part};
use crate::error::Error;
use crate::setup::Listening;

/// A stream on its way from dialling to its end.
#[derive(Debug)]
enum Slot {
    Dialling {
        socket: OwnedFd,
        then: Plan,
    },
    Pumping {
        exec: ExecId,
        direction: Direction,
        pump: Pump,
    },
    /// Programs of the guest connect here.
    Listening(Listening),
    /// A connection of a program of the guest, while its stream is dialled.
    Carrying {
        socket: OwnedFd,
        stream: StreamId,
        near: OwnedFd,
        part: Part,
    },
    /// One direction of such a connection.
    Relaying {
        pump: Pump,
        part: Part,
    },
}

/// What a connection is for once it is there.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) exec: ExecId,
    pub(crate) ends: Ends,
}

/// The command's end of a stream.
#[derive(Debug)]
pub(crate) enum Ends {
    Stdin(OwnedFd),
    Stdout(OwnedFd),
    Stderr(OwnedFd),
    Terminal { input: OwnedFd, output: OwnedFd },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToCommand,
    ToHost,
}

impl Plan {
    fn opening(&self) -> Opening {
        let stream = match self.ends {
            Ends::Stdin(_) => Stream::Stdin,
            Ends::Stdout(_) => Stream::Stdout,
            Ends::Stderr(_) => Stream::Stderr,
            Ends::Terminal { .. } => Stream::Terminal,
        };
        Opening::Stream(StreamId::Exec { exec: self.exec, stream })
    }
}

/// The slots; an index stays a slot's name for its life.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    all: Vec<Option<Slot>>,
    gate: Gate,
}

impl Slots {
    /// Watches a connection being dialled and, once it is there, carries a stream over it.
    pub(crate) fn dial(&mut self, socket: OwnedFd, then: Plan, poller: &Poller) -> Result<(), Error> {
        let index = self.free();
        poller.watch(&socket, Token::Slot(index), Readiness::Write)?;
        self.all[index] = Some(Slot::Dialling { socket, then });
        Ok(())
    }

    /// Lets a slot do what it has become ready for. A stale event for a slot that changed does no harm.
    pub(crate) fn advance(&mut self, index: usize, dialer: &Dialer, poller: &Poller) -> Result<(), Error> {
        match self.all.get_mut(index).map(Option::take) {
            Some(Some(Slot::Dialling { socket, then })) => {
                poller.forget(&socket);
                if dial::introduce(&socket, &then.opening()).is_ok() {
                    self.connected(socket, then, poller)?;
                }
                // Else the host does not want the stream: the command sees a closed pipe.
            }
            Some(Some(Slot::Pumping { exec, direction, mut pump })) => {
                if pump.advance(index, poller)? == Progress::More {
                    self.all[index] = Some(Slot::Pumping { exec, direction, pump });
                }
            }
            Some(Some(Slot::Listening(listening))) => {
                let accepted =
                    if self.gate.is_full() { None } else { Some(sockets::accept(&listening.socket)) };
                let stream = StreamId::Socket(listening.id);
                self.all[index] = Some(Slot::Listening(listening));
                match accepted {
                    // Without a way to the host the program sees a connection that ends at once.
                    Some(Accepted::Connection(near)) => {
                        if let Ok(socket) = dialer.dial() {
                            self.carry(socket, stream, near, poller)?;
                        }
                    }
                    Some(Accepted::Nothing) => {}
                    Some(Accepted::KernelIsFull) => self.pause(true, poller),
                    None => self.pause(false, poller),
                }
            }
            Some(Some(Slot::Carrying { socket, stream, near, part })) => {
                poller.forget(&socket);
                if dial::introduce(&socket, &Opening::Stream(stream)).is_ok() {
                    self.relay(socket, near, part, poller)?;
                }
            }
            Some(Some(Slot::Relaying { mut pump, part })) => {
                if pump.advance(index, poller)? == Progress::More {
                    self.all[index] = Some(Slot::Relaying { pump, part });
                }
            }
            Some(None) | None => {}
        }
        Ok(())
    }

    /// Begins to accept at a socket.
    pub(crate) fn listen(&mut self, listening: Listening, poller: &Poller) -> Result<(), Error> {
        let index = self.free();
        if !self.gate.is_closed() {
            poller.watch(&listening.socket, Token::Slot(index), Readiness::Read)?;
        }
        self.all[index] = Some(Slot::Listening(listening));
        Ok(())
    }

    /// Connects `near` with the host by a stream whose socket is being dialled.
    pub(crate) fn carry(
        &mut self,
        socket: OwnedFd,
        stream: StreamId,
        near: OwnedFd,
        poller: &Poller,
    ) -> Result<(), Error> {
        let index = self.free();
        poller.watch(&socket, Token::Slot(index), Readiness::Write)?;
        self.all[index] = Some(Slot::Carrying { socket, stream, near, part: self.gate.enter() });
        Ok(())
    }

    fn relay(&mut self, far: OwnedFd, near: OwnedFd, part: Part, poller: &Poller) -> Result<(), Error> {
        // Without descriptors for two directions there is no connection.
        let (Ok(far_out), Ok(near_out)) = (far.try_clone(), near.try_clone()) else { return Ok(()) };
        for (source, sink) in [(near, far_out), (far, near_out)] {
            let index = self.free();
            let mut pump = Pump::between(source, sink);
            pump.start(index, poller)?;
            self.all[index] = Some(Slot::Relaying { pump, part: part.clone() });
        }
        Ok(())
    }

    fn pause(&mut self, kernel_is_full: bool, poller: &Poller) {
        self.gate.close(kernel_is_full);
        for slot in self.all.iter().flatten() {
            if let Slot::Listening(listening) = slot {
                poller.forget(&listening.socket);
            }
        }
    }

    /// Accepts again if it was paused and there is room.
    pub(crate) fn resume(&mut self, poller: &Poller) -> Result<(), Error> {
        if !self.gate.reopens() {
            return Ok(());
        }
        for (index, slot) in self.all.iter().enumerate() {
            if let Some(Slot::Listening(listening)) = slot {
                poller.watch(&listening.socket, Token::Slot(index), Readiness::Read)?;
            }
        }
        Ok(())
    }

    /// When [`Self::resume`] must be called though nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.gate.next_look()
    }

    fn connected(&mut self, socket: OwnedFd, plan: Plan, poller: &Poller) -> Result<(), Error> {
        let exec = plan.exec;
        match plan.ends {
            Ends::Stdin(pipe) => self.pump(exec, Direction::ToCommand, Pump::into_pipe(socket, pipe), poller),
            Ends::Stdout(pipe) | Ends::Stderr(pipe) => {
                self.pump(exec, Direction::ToHost, Pump::from_pipe(pipe, socket), poller)
            }
            Ends::Terminal { input, output } => {
                // Without a copy the terminal still shows what the command says.
                if let Ok(typed) = socket.try_clone() {
                    self.pump(exec, Direction::ToCommand, Pump::into_terminal(typed, input), poller)?;
                }
                self.pump(exec, Direction::ToHost, Pump::from_terminal(output, socket), poller)
            }
        }
    }

    fn pump(
        &mut self,
        exec: ExecId,
        direction: Direction,
        mut pump: Pump,
        poller: &Poller,
    ) -> Result<(), Error> {
        let index = self.free();
        pump.start(index, poller)?;
        self.all[index] = Some(Slot::Pumping { exec, direction, pump });
        Ok(())
    }

    /// Discards a command's output from here on; gives back what keeps its input open.
    pub(crate) fn leave(&mut self, exec: ExecId, poller: &Poller) -> Result<Vec<OwnedFd>, Error> {
        let mut held = Vec::new();
        for (index, place) in self.all.iter_mut().enumerate() {
            let Some(Slot::Pumping { exec: of, direction, pump }) = place else { continue };
            if *of != exec {
                continue;
            }
            if *direction == Direction::ToHost {
                pump.discard(index, poller)?;
            } else if let Some(Slot::Pumping { pump, .. }) = place.take() {
                held.push(pump.into_sink(poller));
            }
        }
        Ok(held)
    }

    /// Whether output of a command is still under way.
    pub(crate) fn has_outputs(&self, exec: ExecId) -> bool {
        self.all.iter().flatten().any(|slot| match slot {
            Slot::Dialling { then, .. } => then.exec == exec && !matches!(then.ends, Ends::Stdin(_)),
            Slot::Pumping { exec: of, direction, .. } => *of == exec && *direction == Direction::ToHost,
            Slot::Listening(_) | Slot::Carrying { .. } | Slot::Relaying { .. } => false,
        })
    }

    /// Ends what a command reads.
    pub(crate) fn close_inputs(&mut self, exec: ExecId) {
        self.remove(|slot| match slot {
            Slot::Dialling { then, .. } => then.exec == exec && matches!(then.ends, Ends::Stdin(_)),
            Slot::Pumping { exec: of, direction, pump } => {
                *of == exec && *direction == Direction::ToCommand && !pump.is_terminal()
            }
            Slot::Listening(_) | Slot::Carrying { .. } | Slot::Relaying { .. } => false,
        });
    }

    /// Ends the outputs of a command that have nothing to deliver.
    pub(crate) fn close_idle_outputs(&mut self, exec: ExecId) {
        self.remove(|slot| match slot {
            Slot::Dialling { .. } | Slot::Listening(_) | Slot::Carrying { .. } | Slot::Relaying { .. } => {
                false
            }
            Slot::Pumping { exec: of, direction, pump } => {
                *of == exec && *direction == Direction::ToHost && pump.is_idle()
            }
        });
    }

    fn remove(&mut self, which: impl Fn(&Slot) -> bool) {
        for slot in &mut self.all {
            if slot.as_ref().is_some_and(&which)
                && let Some(Slot::Pumping { mut pump, .. }) = slot.take()
            {
                pump.finish();
            }
        }
    }

    fn free(&mut self) -> usize {
        match self.all.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.all.push(None);
                self.all.len() - 1
            }
        }
    }
}
