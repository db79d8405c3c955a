//! Text for whoever looks for a guest's fault: the kernel's log, whose end a panic carries to the host.

use rustix::fs::{Mode, OFlags, open};

/// Writes a line to the kernel's log, or outside a machine to standard error.
pub(crate) fn complain(text: &str) {
    // Level 2 (critical), so that it shows wherever a console is watched. One write is one record, 976 bytes at most.
    let mut line = format!("<2>monocore-init: {text}\n");
    let mut end = line.len().min(960);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    let written = open("/dev/kmsg", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|log| rustix::io::write(log, line.as_bytes()));
    if written.is_err() || rustix::process::getpid() != rustix::process::Pid::INIT {
        // Nothing is left to tell of a failure.
        let _ = rustix::io::write(rustix::stdio::stderr(), &line.as_bytes()[3..]);
    }
}

/// A panic becomes a line of the kernel's log; the process's end, which follows, is then a kernel panic.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| complain(&panic.to_string())));
}
