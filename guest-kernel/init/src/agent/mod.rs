//! The agent: serves the host's requests for as long as the machine lives.
//!
//! One epoll loop. What it watches: the control connection, SIGCHLD, connections being dialled, and for every stream
//! whichever of its two ends it waits for. Nothing in it blocks.

mod child;
mod command;
mod control;
mod dial;
mod memory;
mod poller;
mod pump;
mod requests;
mod slots;
mod sockets;
mod stats;
mod tools;
mod worker;

use std::collections::BTreeMap;
use std::time::Instant;

use monocore_protocol::{Event, ExecId, ExitStatus, Opening, VERSION};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use command::Command;
use control::Control;
use dial::Dialer;
use memory::MemoryWatch;
use poller::{Poller, Token};
use slots::Slots;
use worker::Worker;

use crate::early::{self, Early};
use crate::error::{Doing, Error};
use crate::setup::System;
use crate::{log, sys};

/// Serves the host of the machine this is PID 1 of; returns only when there is no host any more.
pub(crate) fn serve_machine() -> Result<(), Error> {
    sys::ignore_broken_pipes();
    let dialer = Dialer::Machine;
    // The connection is made while the first file systems are mounted.
    let dialled = dialer.dial();
    let early = early::mount()?;
    let control = dial::open(dialled.map_err(no_host)?, &Opening::Control { version: VERSION })?;
    Agent::new(dialer, control, Some(early))?.run()?;
    // The host closed the connection: nobody will ever know what happens here.
    rustix::fs::sync();
    rustix::system::reboot(rustix::system::RebootCommand::PowerOff).doing("power off", "the machine")
}

/// Serves a host that listens at a Unix socket; for trying the agent without a machine.
pub(crate) fn serve_socket(path: &str) -> Result<(), Error> {
    sys::ignore_broken_pipes();
    let dialer = Dialer::Socket(path.to_owned());
    let dialled = dialer.dial().map_err(no_host)?;
    rustix::process::chdir("/proc").doing("enter", "/proc")?;
    let control = dial::open(dialled, &Opening::Control { version: VERSION })?;
    Agent::new(dialer, control, None)?.run()
}

fn no_host(error: Errno) -> Error {
    Error::NoHost(error.into())
}

/// The agent's state.
#[derive(Debug)]
struct Agent {
    poller: Poller,
    control: Control,
    dialer: Dialer,
    child_signals: OwnedFd,
    /// Where the early mounts are until a configuration moves them; nothing where nothing is mounted.
    early: Option<Early>,
    /// What the configuration made; nothing before it.
    system: Option<System>,
    commands: BTreeMap<ExecId, Command>,
    workers: Vec<Worker>,
    slots: Slots,
    /// Whether the kernel ends processes because memory is out.
    memory: Option<MemoryWatch>,
}

impl Agent {
    fn new(dialer: Dialer, control: OwnedFd, early: Option<Early>) -> Result<Self, Error> {
        let poller = Poller::new()?;
        let child_signals = sys::child_signals().doing("watch", "child processes")?;
        poller.watch(&control, Token::Control, poller::Readiness::Read)?;
        poller.watch(&child_signals, Token::Children, poller::Readiness::Read)?;
        Ok(Self {
            poller,
            control: Control::new(control),
            dialer,
            child_signals,
            early,
            system: None,
            commands: BTreeMap::new(),
            workers: Vec::new(),
            slots: Slots::default(),
            memory: None,
        })
    }

    /// Serves until the host closes the control connection.
    fn run(&mut self) -> Result<(), Error> {
        loop {
            for token in self.poller.wait(self.next_deadline())? {
                match token {
                    Token::Control => {
                        if self.control.receive()? == control::Link::Closed {
                            return Ok(());
                        }
                    }
                    Token::Children => self.reap()?,
                    Token::Memory => self.look_at_memory(),
                    Token::Slot(index) => self.slots.advance(index, &self.dialer, &self.poller)?,
                }
            }
            while let Some(request) = self.control.next_request()? {
                self.serve(request);
            }
            self.settle()?;
            self.control.flush(&self.poller)?;
        }
    }

    /// Tells the host if the kernel has ended a process because memory was out.
    fn look_at_memory(&mut self) {
        if self.memory.as_mut().is_some_and(MemoryWatch::look) {
            self.control.say(&Event::OutOfMemory);
        }
    }

    /// Learns which processes have ended.
    fn reap(&mut self) -> Result<(), Error> {
        let mut information = [0; 1024];
        while rustix::io::read(&self.child_signals, &mut information).is_ok() {}
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.ended(pid, status),
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).doing("wait for", "child processes"),
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: WaitStatus) {
        if let Some(index) = self.workers.iter().position(|worker| worker.pid == pid) {
            let worker = self.workers.swap_remove(index);
            return self.control.say(&Event::Answer { id: worker.id, result: worker.result(status) });
        }
        let Some((id, command)) = self.commands.iter_mut().find(|(_, command)| command.pid == pid) else {
            // An orphan that fell to PID 1.
            return;
        };
        if command.ended.is_some() {
            return;
        }
        command.ended = Some(Instant::now());
        if self.memory.as_mut().is_some_and(MemoryWatch::look) {
            // The reason comes first.
            self.control.say(&Event::OutOfMemory);
        }
        self.slots.close_inputs(*id);
        if command.lives_for_guest {
            sys::kill_everything();
        }
        self.control.say(&Event::Exited { exec: *id, status: exit_status(status) });
    }

    /// Forgets commands that are over: ended, and their output delivered.
    fn settle(&mut self) -> Result<(), Error> {
        for (id, command) in &self.commands {
            if command.lingers_too_long() {
                self.slots.close_idle_outputs(*id);
            }
        }
        self.slots.resume(&self.poller)?;
        self.commands.retain(|id, command| command.ended.is_none() || self.slots.has_outputs(*id));
        Ok(())
    }

    /// When the loop must look again even if nothing happens.
    fn next_deadline(&self) -> Option<Instant> {
        self.commands.values().filter_map(Command::next_look).chain(self.slots.next_look()).min()
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(number(code)),
        (None, Some(signal)) => ExitStatus::Signal(number(signal)),
        (None, None) => {
            log::complain("a process ended without a status");
            ExitStatus::Code(u8::MAX)
        }
    }
}
