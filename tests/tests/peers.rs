//! Groups of sandboxes, as their users find them: names, connections of all kinds, and nobody else.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "net/ground.rs"]
#[allow(dead_code, reason = "the network's tests use the rest of it")]
mod ground;
#[path = "peers/life.rs"]
mod life;
#[path = "peers/strangers.rs"]
mod strangers;
#[path = "peers/traffic.rs"]
mod traffic;

use monocore_tests::world::Ran;

use crate::ground::{Mode, Running};

/// A member that serves at `port`, as `name` in `groups`.
fn serve(mode: Mode, name: &str, flags: &[&str], port: u16) -> Running {
    let flags = [&["--name", name], flags].concat();
    ground::start(&mut ground::run(mode, &flags, &["net-load", "serve", &port.to_string()]))
}

/// A command in a sandbox with these flags, to its end.
fn visit(mode: Mode, flags: &[&str], command: &[&str]) -> Ran {
    ground::run(mode, flags, command).output().unwrap().into()
}
