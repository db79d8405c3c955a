//! Progress of a call, for clients that ask for it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use monocore_oci::{Digest, Progress};
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::work::Call;

/// A client is told no more often than this.
const INTERVAL: Duration = Duration::from_millis(500);

/// Tells the client how a number grows, until it is dropped.
#[derive(Debug)]
pub(crate) struct Told(Option<JoinHandle<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Call {
    /// Tells the client how `count` grows, if it asked for progress; `text` says what is counted.
    pub(crate) fn tell(
        &self,
        mut count: watch::Receiver<u64>,
        text: impl Fn(u64) -> String + Send + 'static,
    ) -> Told {
        let Some(token) = self.token() else { return Told(None) };
        let peer = self.request.peer.clone();
        Told(Some(tokio::spawn(async move {
            let mut last: Option<Instant> = None;
            while count.changed().await.is_ok() {
                let now = *count.borrow_and_update();
                if last.is_some_and(|last| last.elapsed() < INTERVAL) {
                    continue;
                }
                last = Some(Instant::now());
                #[allow(clippy::cast_precision_loss, reason = "a number to show")]
                let told = ProgressNotificationParam::new(token.clone(), now as f64);
                if peer.notify_progress(told.with_message(text(now))).await.is_err() {
                    return;
                }
            }
        })))
    }

    fn token(&self) -> Option<ProgressToken> {
        self.request.meta.get_progress_token()
    }
}

/// Bytes of an image that have arrived.
#[derive(Debug)]
pub(crate) struct Pulled {
    count: watch::Sender<u64>,
    warnings: Mutex<Vec<String>>,
}

/// Warnings of a pull that are told.
const WARNINGS: usize = 8;

impl Pulled {
    pub(crate) fn new(count: watch::Sender<u64>) -> Self {
        Self { count, warnings: Mutex::default() }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress for Pulled {
    fn layer_advanced(&self, _: &Digest, bytes: u64) {
        self.count.send_modify(|count| *count += bytes);
    }

    fn warning(&self, text: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < WARNINGS {
            warnings.push(text.to_owned());
        }
    }
}
