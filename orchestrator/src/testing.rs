//! What whole-system tests set in their own copies of the program.

use std::sync::atomic::{AtomicBool, Ordering};

static WITHOUT_DELAY: AtomicBool = AtomicBool::new(false);

/// This process starts sandboxes again without the delays of their restart policy.
pub fn restart_without_delay() {
    WITHOUT_DELAY.store(true, Ordering::Relaxed);
}

pub(crate) fn is_without_delay() -> bool {
    WITHOUT_DELAY.load(Ordering::Relaxed)
}
