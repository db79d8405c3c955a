//! The broker of a socket device whose ports are Unix sockets ([`VsockBackend::Unix`](monocore_spec::VsockBackend::Unix)): a
//! process beside the jailed one, and the only one that connects to Unix sockets.
//!
//! The broker takes port numbers from the jailed process and connects to the path of that port, so whoever takes the machine's
//! process over reaches what the guest may reach anyway. The broker ends when the machine's process does.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use monocore_vsock::{Backend, Broker};
use rustix::process::setsid;

use crate::jail::{self, JailError};
use crate::sys::{self, Forked};

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The socket cannot be made.
    #[error("listen at {path}: {source}")]
    Listen {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is no process.
    #[error("start the broker of Unix sockets: {0}")]
    Start(#[source] io::Error),
}

/// Listens at `path` and starts the broker. Called while the process has one thread.
///
/// # Errors
/// [`BrokerError`].
pub fn start_broker(path: &Path) -> Result<Box<dyn Backend>, BrokerError> {
    let listen = |source| BrokerError::Listen { path: path.display().to_string(), source };
    let (device, broker) = monocore_vsock::broker(path).map_err(listen)?;
    match sys::fork().map_err(BrokerError::Start)? {
        Forked::Parent => {
            broker.leave();
            Ok(Box::new(device))
        }
        Forked::Child => {
            drop(device);
            // Nothing of the parent's runs on in the child, its destructors neither.
            sys::exit_now(i32::from(run(broker, path).is_err()))
        }
    }
}

fn run(broker: Broker, path: &Path) -> Result<(), RunError> {
    // A terminal's Ctrl-C is not for the broker: it removes the path once the device is gone.
    setsid()?;
    let numbers: Vec<_> = broker.descriptors().iter().map(AsRawFd::as_raw_fd).collect();
    jail::close_others(&numbers)?;
    jail::enter_as_broker(path)?;
    broker.run()?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Jail(#[from] JailError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Errno(#[from] rustix::io::Errno),
}
