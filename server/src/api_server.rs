//! What every handler has: the state directory, the program, and the bounds on work.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use monocore_api::{HostReport, VersionInfo};
use monocore_orchestrator::{Home, Images, Launcher};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::limit::RateLimit;
use crate::routes::KeptCommands;
use crate::serve::ServerOptions;

/// Short pieces of blocking work at a time; more wait.
pub(crate) const SHORT_WORK: usize = 32;
/// Long pieces (commands, followers, waits) at a time; more are refused.
pub(crate) const LONG_WORK: usize = 400;

/// What the server is told of the program it is part of.
#[derive(Clone)]
pub struct ServerHost {
    /// Versions of the program and its guest.
    pub version: VersionInfo,
    /// Looks whether this machine can run sandboxes.
    pub report: fn() -> HostReport,
    /// A check before a registry is asked.
    pub before_pull: fn() -> Result<(), monocore_orchestrator::Error>,
}

impl fmt::Debug for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHost").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Shared by all requests.
#[derive(Clone, Debug)]
pub(crate) struct ApiServer(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) home: Home,
    pub(crate) launcher: Launcher,
    pub(crate) host: ServerHost,
    pub(crate) short: Arc<Semaphore>,
    pub(crate) long: Arc<Semaphore>,
    /// True once the server is about to end: streams end then.
    pub(crate) ending: watch::Receiver<bool>,
    /// Held by what must be done before a server that ends is gone.
    pub(crate) alive: mpsc::WeakSender<()>,
    /// Loopback connections need a token as well.
    pub(crate) require_token: bool,
    /// The server ends with the program that started it, and leased sandboxes with the server.
    pub(crate) private: bool,
    pub(crate) rate_limit: RateLimit,
    pub(crate) requests: Requests,
    /// Commands that outlive their connections for a while.
    pub(crate) kept: KeptCommands,
}

/// Counts for `/metrics`.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) started: Instant,
    /// By status.
    pub(crate) answered: Mutex<HashMap<u16, u64>>,
}

impl ApiServer {
    pub(crate) fn new(
        launcher: Launcher,
        host: ServerHost,
        ending: watch::Receiver<bool>,
        alive: mpsc::WeakSender<()>,
        options: &ServerOptions,
    ) -> Self {
        Self(Arc::new(Shared {
            home: launcher.home.clone(),
            launcher,
            host,
            short: Arc::new(Semaphore::new(SHORT_WORK)),
            long: Arc::new(Semaphore::new(LONG_WORK)),
            ending,
            alive,
            require_token: options.require_token,
            private: options.private,
            rate_limit: RateLimit::new(options.rate_limit),
            requests: Requests { started: Instant::now(), answered: Mutex::default() },
            kept: KeptCommands::default(),
        }))
    }

    /// Images from the store and their registries.
    pub(crate) fn images(&self) -> Images {
        Images::new(&self.home).with_check_before_pull(self.host.before_pull)
    }

    /// Completes when the server is about to end.
    pub(crate) async fn ended(&self) {
        let mut ending = self.ending.clone();
        // The sender lives as long as the server.
        let _ = ending.wait_for(|ending| *ending).await;
    }
}

impl std::ops::Deref for ApiServer {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
