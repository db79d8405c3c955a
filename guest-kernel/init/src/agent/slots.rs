//! Everything of the agent that waits for a stream: connections being dialled, and pumps.

use monocore_protocol::{ExecId, Opening, Stream, StreamId};
use rustix::fd::OwnedFd;

use super::dial;
use super::poller::{Poller, Readiness, Token};
use super::pump::{Progress, Pump};
use crate::error::Error;

/// A stream on its way from dialling to its end.
#[derive(Debug)]
enum Slot {
    Dialling { socket: OwnedFd, then: Plan },
    Pumping { exec: ExecId, direction: Direction, pump: Pump },
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
pub(crate) struct Slots(Vec<Option<Slot>>);

impl Slots {
    /// Watches a connection being dialled and, once it is there, carries a stream over it.
    pub(crate) fn dial(&mut self, socket: OwnedFd, then: Plan, poller: &Poller) -> Result<(), Error> {
        let index = self.free();
        poller.watch(&socket, Token::Slot(index), Readiness::Write)?;
        self.0[index] = Some(Slot::Dialling { socket, then });
        Ok(())
    }

    /// Lets a slot do what it has become ready for. A stale event for a slot that changed does no harm.
    pub(crate) fn advance(&mut self, index: usize, poller: &Poller) -> Result<(), Error> {
        match self.0.get_mut(index).map(Option::take) {
            Some(Some(Slot::Dialling { socket, then })) => {
                poller.forget(&socket);
                if dial::introduce(&socket, &then.opening()).is_ok() {
                    self.connected(socket, then, poller)?;
                }
                // Else the host does not want the stream: the command sees a closed pipe.
            }
            Some(Some(Slot::Pumping { exec, direction, mut pump })) => {
                if pump.advance(index, poller)? == Progress::More {
                    self.0[index] = Some(Slot::Pumping { exec, direction, pump });
                }
            }
            Some(None) | None => {}
        }
        Ok(())
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
        self.0[index] = Some(Slot::Pumping { exec, direction, pump });
        Ok(())
    }

    /// Whether output of a command is still under way.
    pub(crate) fn has_outputs(&self, exec: ExecId) -> bool {
        self.0.iter().flatten().any(|slot| match slot {
            Slot::Dialling { then, .. } => then.exec == exec && !matches!(then.ends, Ends::Stdin(_)),
            Slot::Pumping { exec: of, direction, .. } => *of == exec && *direction == Direction::ToHost,
        })
    }

    /// Ends what a command reads.
    pub(crate) fn close_inputs(&mut self, exec: ExecId) {
        self.remove(|slot| match slot {
            Slot::Dialling { then, .. } => then.exec == exec && matches!(then.ends, Ends::Stdin(_)),
            Slot::Pumping { exec: of, direction, pump } => {
                *of == exec && *direction == Direction::ToCommand && !pump.is_terminal()
            }
        });
    }

    /// Ends the outputs of a command that have nothing to deliver.
    pub(crate) fn close_idle_outputs(&mut self, exec: ExecId) {
        self.remove(|slot| match slot {
            Slot::Dialling { .. } => false,
            Slot::Pumping { exec: of, direction, pump } => {
                *of == exec && *direction == Direction::ToHost && pump.is_idle()
            }
        });
    }

    fn remove(&mut self, which: impl Fn(&Slot) -> bool) {
        for slot in &mut self.0 {
            if slot.as_ref().is_some_and(&which)
                && let Some(Slot::Pumping { mut pump, .. }) = slot.take()
            {
                pump.finish();
            }
        }
    }

    fn free(&mut self) -> usize {
        match self.0.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.0.push(None);
                self.0.len() - 1
            }
        }
    }
}
