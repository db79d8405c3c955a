//! What every call has: the host, the policy, and the bounds on work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monocore_orchestrator::{Error, Home, SandboxEntry, registry};
use tokio::sync::{Semaphore, mpsc};

use crate::error::ToolError;
use crate::policy::{Policy, Visible};
use crate::{LABEL_MCP, McpHost};

/// Calls that work at a time; more wait.
pub(crate) const WORKING: usize = 32;
/// Calls that wait; more are refused.
pub(crate) const WAITING: usize = 128;
/// Subscriptions at a time; more are refused.
pub(crate) const FOLLOWERS: usize = 32;

/// Shared by all calls.
#[derive(Clone, Debug)]
pub(crate) struct Context(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: McpHost,
    pub(crate) policy: Policy,
    pub(crate) working: Arc<Semaphore>,
    pub(crate) waiting: Semaphore,
    /// Threads that follow output for subscriptions.
    pub(crate) followers: Arc<Semaphore>,
    /// Held while sandboxes are counted and one more is made; has how many are going to be made.
    making: Mutex<usize>,
    /// Held by all work on threads; the receiver learns when none is left.
    pub(crate) alive: Mutex<Option<mpsc::Sender<()>>>,
}

impl Context {
    /// A context, and what tells that no work is left once [`Self::end`] was called.
    pub(crate) fn new(host: McpHost, policy: Policy) -> (Self, mpsc::Receiver<()>) {
        let (alive, all_gone) = mpsc::channel(1);
        let shared = Shared {
            host,
            policy,
            working: Arc::new(Semaphore::new(WORKING)),
            waiting: Semaphore::new(WAITING),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            making: Mutex::default(),
            alive: Mutex::new(Some(alive)),
        };
        (Self(Arc::new(shared)), all_gone)
    }

    /// No more work begins.
    pub(crate) fn end(&self) {
        self.working.close();
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn home(&self) -> &Home {
        &self.host.launcher.home
    }

    /// Whether tools see the sandbox.
    pub(crate) fn sees(&self, entry: &SandboxEntry) -> bool {
        self.policy.sandboxes.visible == Visible::All || entry.labels.contains_key(LABEL_MCP)
    }

    /// The sandbox with this name, ID, or unique ID prefix, if tools see it.
    pub(crate) fn find(&self, name: &str) -> Result<SandboxEntry, ToolError> {
        match registry::find(self.home(), name) {
            Ok(entry) if self.sees(&entry) => Ok(entry),
            // Others are none of the agent's business: it cannot even tell that they are there.
            Ok(_) | Err(Error::Ambiguous(_)) => Err(Error::NoSandbox(name.to_owned()).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// All sandboxes that tools see, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<SandboxEntry>, ToolError> {
        Ok(registry::list(self.home())?.into_iter().filter(|entry| self.sees(entry)).collect())
    }

    /// The right to make one sandbox while the guard is held.
    pub(crate) fn room_for_one(&self) -> Result<MutexGuard<'_, usize>, ToolError> {
        let guard = self.making();
        self.count(*guard + 1)?;
        Ok(guard)
    }

    /// The right to make `more` sandboxes until it is dropped.
    pub(crate) fn room_for(&self, more: usize) -> Result<Room<'_>, ToolError> {
        let mut guard = self.making();
        self.count(*guard + more)?;
        *guard += more;
        Ok(Room { context: self, more })
    }

    fn making(&self) -> MutexGuard<'_, usize> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, more: usize) -> Result<(), ToolError> {
        let all = registry::list(self.home())?;
        let own = all.iter().filter(|entry| entry.labels.contains_key(LABEL_MCP)).count();
        let most = self.policy.sandboxes.max;
        if own + more > most {
            let problem = format!(
                "there are {own} sandboxes, {more} more are wanted, and {most} are allowed: remove one with \
                 remove_sandbox"
            );
            return Err(ToolError::new(problem));
        }
        Ok(())
    }
}

/// The right to make sandboxes.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    context: &'a Context,
    more: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.context.making() -= self.more;
    }
}

impl std::ops::Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
