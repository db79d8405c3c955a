//! One call: its time, its end by the client, and blocking work on threads of their own.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use monocore_orchestrator::session::Signals;
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::ToolError;

/// How long work may take to end that was told to.
const ENDING_TIME: Duration = Duration::from_secs(15);

/// A call of a tool.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) context: Context,
    pub(crate) request: RequestContext<RoleServer>,
    /// When the call must be over.
    deadline: Instant,
    /// Returned when the call is over and all of its work has ended.
    permit: Arc<OwnedSemaphorePermit>,
}

/// Told when the call that some work is for is over.
#[derive(Debug)]
pub(crate) struct Interrupt(OwnedFd);

impl From<UnixStream> for Interrupt {
    fn from(watched: UnixStream) -> Self {
        Self(watched.into())
    }
}

impl Interrupt {
    /// Signals by which whatever waits with them is told.
    pub(crate) fn signals(&self) -> Result<Signals, ToolError> {
        Ok(Signals::interrupted_by(self.descriptor()?))
    }

    /// Readable, or hung up, once the call is over.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd, ToolError> {
        Ok(self.0.try_clone()?)
    }

    /// Whether the call is over.
    pub(crate) fn has_come(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl Call {
    /// Waits for the call's turn.
    ///
    /// # Errors
    /// Too many calls wait, or the client does not wait any more.
    pub(crate) async fn begin(
        context: &Context,
        request: RequestContext<RoleServer>,
    ) -> Result<Self, ToolError> {
        let turn = context.working.clone();
        let permit = match turn.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let busy =
                    |_| ToolError::new("too many calls at a time: wait for some to end, and try again");
                let _waiting = context.waiting.try_acquire().map_err(busy)?;
                tokio::select! {
                    permit = turn.acquire_owned() => permit.map_err(|_| ToolError::new("the server ends"))?,
                    () = request.ct.cancelled() => return Err(ToolError::cancelled()),
                }
            }
        };
        let deadline = Instant::now() + context.policy.time.max_call();
        Ok(Self { context: context.clone(), request, deadline, permit: Arc::new(permit) })
    }

    /// The time that a command may take: as asked for, within the call's own.
    pub(crate) fn time(&self, wanted: Option<u64>) -> Result<Duration, ToolError> {
        let time = &self.context.policy.time;
        match wanted {
            Some(seconds) if seconds > time.max_call_seconds => {
                let problem = format!("{seconds} is more than {}", time.max_call_seconds);
                Err(ToolError::policy("timeout_seconds", problem))
            }
            Some(seconds) => Ok(Duration::from_secs(seconds)),
            None => Ok(Duration::from_secs(time.default_call_seconds)),
        }
    }

    /// Output kept of each stream, bytes.
    pub(crate) fn output(&self, wanted: Option<usize>) -> Result<usize, ToolError> {
        let output = &self.context.policy.output;
        match wanted {
            Some(bytes) if bytes > output.max_bytes => {
                let problem = format!("{bytes} is more than {}", output.max_bytes);
                Err(ToolError::policy("max_output_bytes", problem))
            }
            Some(bytes) => Ok(bytes),
            None => Ok(output.default_bytes),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.request.ct.is_cancelled()
    }

    /// Does `work` on a thread. When the time is up or the client cancels the call, the work is told by its
    /// [`Interrupt`], and what it then gives back is the result.
    ///
    /// # Errors
    /// The work's own; or it does not end though it was told to.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        time: Option<Duration>,
        work: impl FnOnce(&Context, &Interrupt) -> Result<T, ToolError> + Send + 'static,
    ) -> Result<T, ToolError> {
        let (held, watched) = UnixStream::pair()?;
        let mut working = self.spawn(watched.into(), work)?;
        let own = time.map_or(self.deadline, |time| self.deadline.min(Instant::now() + time));
        let done = tokio::select! {
            done = &mut working => Some(done),
            () = self.request.ct.cancelled() => None,
            () = tokio::time::sleep_until(own) => None,
        };
        drop(held);
        let done = match done {
            Some(done) => done,
            None => tokio::time::timeout(ENDING_TIME, working)
                .await
                .map_err(|_| ToolError::new("the time is up, and the sandbox does not answer: remove it"))?,
        };
        done.map_err(|error| ToolError::new(format!("a worker failed: {error}")))?
    }

    fn spawn<T: Send + 'static>(
        &self,
        interrupt: Interrupt,
        work: impl FnOnce(&Context, &Interrupt) -> Result<T, ToolError> + Send + 'static,
    ) -> Result<JoinHandle<Result<T, ToolError>>, ToolError> {
        let alive = self.alive()?;
        let (context, permit) = (self.context.clone(), Arc::clone(&self.permit));
        Ok(tokio::task::spawn_blocking(move || {
            let _held = (permit, alive);
            work(&context, &interrupt)
        }))
    }

    /// Awaits `work` as long as the client wants it and the call's time lasts; dropping it ends it.
    ///
    /// # Errors
    /// The work's own, or the call is over.
    pub(crate) async fn within<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, ToolError>
    where
        ToolError: From<E>,
    {
        tokio::select! {
            done = work => done.map_err(ToolError::from),
            () = self.request.ct.cancelled() => Err(ToolError::cancelled()),
            () = tokio::time::sleep_until(self.deadline) => {
                let most = self.context.policy.time.max_call_seconds;
                Err(ToolError::new(format!("the call took longer than {most} s and was ended")))
            }
        }
    }

    fn alive(&self) -> Result<mpsc::Sender<()>, ToolError> {
        let alive = self.context.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.clone().ok_or_else(|| ToolError::new("the server ends"))
    }
}
