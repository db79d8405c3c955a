//! Sandboxes that outlive their command: create, start, exec, stop, logs, rm, as a user types them.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "kept/attach.rs"]
mod attach;
#[path = "kept/container.rs"]
mod container;
#[path = "kept/copy.rs"]
mod copy;
#[path = "kept/costs.rs"]
mod costs;
#[path = "kept/crash.rs"]
mod crash;
#[path = "kept/cycles.rs"]
mod cycles;
#[path = "kept/events.rs"]
mod events;
#[path = "kept/exec.rs"]
mod exec;
#[path = "kept/flags.rs"]
mod flags;
#[path = "kept/flood.rs"]
mod flood;
#[path = "kept/health.rs"]
mod health;
#[path = "kept/host_edits.rs"]
mod host_edits;
#[path = "kept/hostile.rs"]
mod hostile;
#[path = "kept/inside.rs"]
mod inside;
#[path = "kept/kernel.rs"]
mod kernel;
#[path = "kept/kills.rs"]
mod kills;
#[path = "kept/library.rs"]
mod library;
#[path = "kept/life.rs"]
mod life;
#[path = "kept/limits.rs"]
mod limits;
#[path = "kept/locks.rs"]
mod locks;
#[path = "kept/machine.rs"]
mod machine;
#[path = "kept/memory.rs"]
mod memory;
#[path = "kept/mounts.rs"]
mod mounts;
#[path = "kept/pause.rs"]
mod pause;
#[path = "kept/probe.rs"]
mod probe;
#[path = "kept/restart.rs"]
mod restart;
#[path = "kept/secret.rs"]
mod secret;
#[path = "kept/select.rs"]
mod select;
#[path = "kept/sqlite.rs"]
mod sqlite;
#[path = "kept/support.rs"]
mod support;
#[path = "kept/table.rs"]
mod table;
#[path = "kept/volumes.rs"]
mod volumes;
