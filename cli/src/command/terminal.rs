//! The caller's terminal in raw mode, and back: on every way out, a panic's included.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// What to put back; here and not in [`RawMode`] alone, so that the panic hook finds it: a program that aborts drops
/// nothing.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Standard input's terminal passes every key on as it is, until this is dropped.
#[derive(Debug)]
pub(super) struct RawMode(());

impl RawMode {
    /// Switches the terminal over; nothing if standard input is none.
    ///
    /// # Errors
    /// The terminal refuses.
    pub(super) fn enter() -> anyhow::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin).context("reading the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        let terminal = stdin.as_fd().try_clone_to_owned().context("keeping the terminal open")?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, before));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("switching the terminal to raw mode")?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let taken = BEFORE.try_lock().ok().and_then(|mut before| before.take());
    if let Some((terminal, before)) = taken {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}
