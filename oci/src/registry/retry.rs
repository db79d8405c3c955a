//! Trying again, and when.

use std::time::Duration;

use crate::error::Result;

/// Attempts in a row that bring nothing before it is given up.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause, also where a registry asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Starts counting anew: something was achieved.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }

    /// Waits before the next attempt, twice as long each time or as the registry asked; gives `error` back once
    /// there were enough.
    pub(super) async fn pause(&mut self, error: crate::Error, asked: Option<Duration>) -> Result<()> {
        self.0 += 1;
        if self.0 >= ATTEMPTS {
            return Err(error);
        }
        let pause = asked.unwrap_or(FIRST_PAUSE * 2u32.pow(self.0 - 1)).min(LONGEST_PAUSE);
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
