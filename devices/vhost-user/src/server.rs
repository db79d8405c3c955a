//! The socket front ends connect to.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use monocore_virtio::{ThreadSetup, VirtioDevice};
use vhost::vhost_user::{BackendReqHandler, Error};

use crate::backend::DeviceBackend;
use crate::early;

/// Why a device cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("listening at {path}: {source}")]
    Listen {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The next front end cannot be taken.
    #[error("accepting a front end: {0}")]
    Accept(#[source] io::Error),
}

/// A device at a socket.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    backend: Arc<Mutex<DeviceBackend>>,
}

impl Server {
    /// Listens at `path`, which must not exist, with `device`, each of whose threads calls `thread_setup` first.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn bind(
        path: &Path,
        device: Box<dyn VirtioDevice>,
        thread_setup: ThreadSetup,
    ) -> Result<Self, ServeError> {
        let listener = UnixListener::bind(path)
            .map_err(|source| ServeError::Listen { path: path.to_owned(), source })?;
        let backend = Arc::new(Mutex::new(DeviceBackend::new(device, thread_setup)));
        Ok(Self { listener, path: path.to_owned(), backend })
    }

    /// Serves front ends, one after the other, for ever.
    ///
    /// # Errors
    /// [`ServeError::Accept`].
    pub fn serve(&self) -> Result<(), ServeError> {
        loop {
            self.serve_one()?;
        }
    }

    /// Serves the next front end until it goes away.
    ///
    /// # Errors
    /// [`ServeError::Accept`]; what a front end does wrong ends its connection and is no error.
    pub fn serve_one(&self) -> Result<(), ServeError> {
        let (stream, _) = self.listener.accept().map_err(ServeError::Accept)?;
        self.talk(stream);
        self.backend.lock().unwrap_or_else(PoisonError::into_inner).disconnect();
        Ok(())
    }

    fn talk(&self, stream: UnixStream) {
        let early = match stream.try_clone() {
            Ok(early) => early,
            Err(error) => return tracing::warn!(%error, "the front end is sent away"),
        };
        let mut handler = BackendReqHandler::from_stream(stream, Arc::clone(&self.backend));
        loop {
            match self.take_early(&early) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return tracing::warn!(%error, "the front end is sent away"),
            }
            match handler.handle_request() {
                Ok(()) | Err(Error::SocketRetry(_)) => {}
                Err(Error::Disconnected) => return tracing::info!("the front end left"),
                Err(Error::SocketBroken(error)) => return tracing::info!(%error, "the front end is gone"),
                Err(error) => return tracing::warn!(%error, "the front end is sent away"),
            }
        }
    }

    fn take_early(&self, socket: &UnixStream) -> io::Result<bool> {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        if backend.is_early() { early::take(socket, &mut backend) } else { Ok(false) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: a path somebody else removed is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}
