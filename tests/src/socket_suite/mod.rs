//! A suite of socket operations: what Linux answers programs that use TCP and UDP, asserted one by one.
//!
//! It runs on a plain Linux and in a guest, each time against a [`peer`] elsewhere, and the same answers are demanded of both.
//! Every assertion has a name, and every group of them a process of its own: one that hangs or crashes costs no other.
//! Needs root.

mod bulk;
mod check;
mod connect;
mod descriptors;
mod ends;
mod inbound;
mod inside;
mod listen;
mod names;
mod nonblocking;
mod options;
pub mod peer;
mod ready;
mod stream;
mod stream_ends;
mod sys;
mod udp;
mod udp_connected;

use std::io::{self, Write};
use std::time::Duration;

use rustix::io::Errno;

pub use check::Checks;
pub use ends::Target;

/// How long a group may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A group of assertions; it ends early where what they are about cannot be set up.
type Group = fn(&mut Checks, &Target) -> Result<(), Errno>;

const GROUPS: &[(&str, Group)] = &[
    ("connect", connect::run),
    ("connect-errors", connect::errors),
    ("unreachable", connect::unreachable),
    ("nonblocking", nonblocking::run),
    ("refused", nonblocking::refused),
    ("unanswered", nonblocking::unanswered),
    ("epoll", ready::epoll),
    ("poll", ready::poll),
    ("poll-ends", ready::ends),
    ("stream", stream::run),
    ("vectors", stream::vectors),
    ("timeouts", stream::timeouts),
    ("signals", stream::signals),
    ("volume", stream::volume),
    ("bulk-waits", bulk::waits),
    ("bulk-wholes", bulk::wholes),
    ("bulk-several", bulk::several),
    ("bulk-ends", bulk::ends),
    ("bulk-sends", bulk::sends),
    ("half-close", stream_ends::half_close),
    ("shutdown", stream_ends::shutdowns),
    ("reset", stream_ends::resets),
    ("names", names::run),
    ("options", options::run),
    ("tcp-options", options::tcp),
    ("bind", listen::binding),
    ("bind-without-rights", listen::privileged),
    ("listen", listen::run),
    ("wrong-state", listen::wrong_state),
    ("inbound", inbound::tcp),
    ("inbound-ends", inbound::ends),
    ("inbound-udp", inbound::udp),
    ("sharing", descriptors::sharing),
    ("passing", descriptors::passing),
    ("splicing", descriptors::splicing),
    ("udp", udp::run),
    ("udp-sizes", udp::sizes),
    ("udp-vectors", udp::vectors),
    ("udp-several", udp::several),
    ("udp-connected", udp_connected::run),
    ("udp-refused", udp_connected::refused),
    ("loopback", inside::loopback),
    ("both-families", inside::both_families),
];

/// Runs every group against each of `targets` and writes a line for each assertion: `ok NAME = ANSWER`, or `not ok NAME =
/// ANSWER # expected OTHER`. Says whether all were as expected.
///
/// # Errors
/// What was found cannot be written, or no process be made.
pub fn run(targets: &[Target], only: Option<&str>, mut out: impl Write) -> io::Result<bool> {
    let (mut made, mut failed) = (0, 0);
    for target in targets {
        let family = if target.peer.is_ipv4() { 4 } else { 6 };
        for (name, group) in GROUPS.iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))) {
            let name = format!("{name}{family}");
            let ended = sys::in_child(PATIENCE, |pipe| {
                let mut checks = Checks::new(name.clone(), pipe);
                if let Err(errno) = group(&mut checks, target) {
                    checks.is("goes to its end", check::name(errno), "yes");
                }
            })?;
            let mut text = ended.said;
            if !ended.well {
                text.push_str(&format!("not ok {name}: ends in time = no # expected yes\n"));
            }
            made += text.lines().count();
            failed += text.lines().filter(|line| line.starts_with("not ok")).count();
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
    }
    writeln!(out, "1..{made}\nsocket-suite: {made} assertions, {failed} failed")?;
    Ok(failed == 0)
}
