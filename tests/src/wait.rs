//! Waiting for what is about to happen, with an end: a test that waits for ever says nothing.

use std::time::{Duration, Instant};

/// How long is waited; a testbed beside other load is slow.
const LONGEST: Duration = Duration::from_secs(180);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `is_so`.
///
/// # Panics
/// After three minutes, with `what` did not come true.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONGEST, "after {LONGEST:?} it is still not so that {what}");
        std::thread::sleep(PAUSE);
    }
}
