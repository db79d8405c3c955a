//! Followers of sandboxes' output, for clients that want to know when it changes.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::ToolError;
use crate::resources;
use crate::work::Interrupt;

/// A client is told of one resource no more often than this.
const INTERVAL: Duration = Duration::from_millis(200);

/// The resources that one client follows; dropping it ends their followers.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    context: Context,
    /// By address; a follower ends when its socket closes.
    held: Mutex<HashMap<String, UnixStream>>,
}

impl Subscriptions {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, held: Mutex::default() }
    }

    /// Follows a resource on a thread of its own; `tell` may block.
    ///
    /// # Errors
    /// There is no such resource, or too many are followed.
    pub(crate) async fn add(
        &self,
        uri: String,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<(), ToolError> {
        let busy = |_| ToolError::new("too many subscriptions at a time: end some");
        let permit = self.context.followers.clone().try_acquire_owned().map_err(busy)?;
        let (context, wanted) = (self.context.clone(), uri.clone());
        let entry = tokio::task::spawn_blocking(move || resources::find(&context, &wanted));
        let entry = entry.await.map_err(|error| ToolError::new(error.to_string()))??;
        let (held, watched) = UnixStream::pair()?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(uri.clone(), held);
        let context = self.context.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut last: Option<Instant> = None;
            let changed = || {
                if last.is_none_or(|last| last.elapsed() >= INTERVAL) {
                    last = Some(Instant::now());
                    tell(&uri);
                }
            };
            let followed = resources::follow(&context, &entry, &Interrupt::from(watched), changed);
            match followed {
                // The sandbox's end is a change as well.
                Ok(()) => tell(&uri),
                Err(error) => tracing::warn!(error = error.0, "the output of a sandbox is not followed"),
            }
        });
        Ok(())
    }

    /// Ends a follower.
    pub(crate) fn remove(&self, uri: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(uri);
    }
}
