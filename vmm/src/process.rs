//! A process that is one machine: what the hidden command `monocore vmm` runs.
//!
//! Its parent hands it a specification, the descriptors the specification names, and one end of a socket pair, the
//! lifeline. The process ends when the machine does, after writing how as one line of JSON ([`VmExit`]) to the lifeline, or at
//! once when the lifeline's other end is closed, however that came about.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use monocore_spec::{DeviceSpec, TimelineEntry, VmExit, VmSpec, VsockBackend, VsockSpec};
use monocore_vsock::Backend as VsockConnections;
use rustix::net::{SendFlags, send};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::attachments::Attachments;
use crate::broker::{BrokerError, start_broker};
use crate::jail::{self, Jail, JailError};
use crate::machine::MachineService;
use crate::{Error, HostHypervisor, Machine, files, sys};

/// The longest specification that is read, in bytes.
const SPEC_MAX_BYTES: u64 = 16 << 20;
/// Descriptors of a machine that are no connections: far fewer.
const OTHER_DESCRIPTORS: u64 = 1024;

#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("read the machine's specification: {0}")]
    ReadSpec(#[source] io::Error),
    #[error("the machine's specification: {0}")]
    ParseSpec(#[from] serde_json::Error),
    #[error("jail: {0}")]
    Jail(#[from] JailError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Machine(#[from] Error),
}

/// Becomes the machine whose specification is read from descriptor `spec_fd`, until it ends or `lifeline_fd` is cut.
///
/// Called on the process's first thread before any other runs; it never returns while the machine lives.
pub fn main(spec_fd: RawFd, lifeline_fd: RawFd) -> ExitCode {
    let lifeline = match sys::duplicate(lifeline_fd) {
        Ok(lifeline) => lifeline,
        Err(error) => {
            tracing::error!(%error, "the lifeline is no descriptor");
            return ExitCode::FAILURE;
        }
    };
    match run(spec_fd, &lifeline) {
        Ok(exit) => {
            report(&lifeline, &exit);
            // Threads still run; their destructors have nothing to save.
            std::process::exit(0)
        }
        Err(error) => {
            tracing::error!(%error, "no machine");
            report(&lifeline, &VmExit::InternalError { detail: error.to_string() });
            std::process::exit(1)
        }
    }
}

fn run(spec_fd: RawFd, lifeline: &OwnedFd) -> Result<VmExit, ProcessError> {
    let mut spec = read_spec(spec_fd)?;
    let named = jail::named_descriptors(&spec);
    jail::close_others(&[&named[..], &[lifeline.as_raw_fd()]].concat())?;
    jail::restrict_streams()?;
    let connections = broker(&mut spec)?;
    let mut timeline = files::open_sink(&spec.timeline)?;
    allow_connections(&spec);
    let control = spec.control.map(files::descriptor).transpose()?.map(MachineService::new);
    let jail = Jail::prepare(&spec)?;
    let attachments = Attachments { confinement: jail.confinement(), vsock: connections };
    let hypervisor = HostHypervisor::open().map_err(Error::hypervisor)?;
    let machine = Machine::build(&hypervisor, &spec, attachments)?;
    drop(hypervisor);
    jail::close_named(&named)?;
    jail.enter()?;
    let running = machine.start()?;
    let exit = running.wait_for_end(Some(lifeline.as_fd()), control);
    if let Some(file) = &mut timeline {
        write_timeline(file, &running.timeline());
    }
    // Not dropped: the process ends with its threads where they are.
    std::mem::forget(running);
    Ok(exit)
}

/// Starts the broker of a socket device whose ports are Unix sockets; what it serves is attached to the device instead.
fn broker(spec: &mut VmSpec) -> Result<Option<Box<dyn VsockConnections>>, BrokerError> {
    for device in &mut spec.devices {
        if let DeviceSpec::Vsock(VsockSpec { backend, .. }) = device
            && let VsockBackend::Unix { path } = backend
        {
            let connections = start_broker(path)?;
            *backend = VsockBackend::Attached;
            return Ok(Some(connections));
        }
    }
    Ok(None)
}

/// Lets the process have as many descriptors as its guest may have connections. The usual limit, 1,024, is kept low for the
/// sake of `select`, which nobody here calls.
fn allow_connections(spec: &VmSpec) {
    let Some(proxy) = spec.proxy() else { return };
    // A connection to a member has two.
    let each = if proxy.peers.is_some() { 2 } else { 1 };
    let wanted = OTHER_DESCRIPTORS + each * u64::from(proxy.limits.connections);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
            tracing::warn!(%error, "the guest cannot have all the connections it may");
        }
    }
}

fn read_spec(spec_fd: RawFd) -> Result<VmSpec, ProcessError> {
    let file = File::from(sys::duplicate(spec_fd).map_err(ProcessError::ReadSpec)?);
    let mut text = Vec::new();
    file.take(SPEC_MAX_BYTES).read_to_end(&mut text).map_err(ProcessError::ReadSpec)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Tells the parent; one that is gone does not listen.
fn report(lifeline: &OwnedFd, exit: &VmExit) {
    let Ok(mut line) = serde_json::to_vec(exit) else { return };
    line.push(b'\n');
    let mut rest = &line[..];
    while !rest.is_empty() {
        match send(lifeline, rest, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return tracing::debug!(%error, "nobody hears how the machine ended"),
        }
    }
}

fn write_timeline(file: &mut File, entries: &[TimelineEntry]) {
    for entry in entries {
        let Ok(mut line) = serde_json::to_vec(entry) else { continue };
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            return tracing::warn!(%error, "the timeline is lost");
        }
    }
}
