//! `monocore run` as its users see it, each test in guests of its own.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "run/command.rs"]
mod command;
#[path = "run/exit.rs"]
mod exit;
#[path = "run/jailed.rs"]
mod jailed;
#[path = "run/lifetime.rs"]
mod lifetime;
#[path = "run/machine.rs"]
mod machine;
#[path = "run/mounts.rs"]
mod mounts;
#[path = "run/nat.rs"]
mod nat;
#[path = "run/network.rs"]
mod network;
#[path = "run/publish.rs"]
mod publish;
#[path = "run/receipts.rs"]
mod receipts;
#[path = "run/running.rs"]
mod running;
#[path = "run/streams.rs"]
mod streams;
#[path = "run/tap.rs"]
mod tap;
#[path = "run/terminal.rs"]
mod terminal;
#[path = "run/unix_sockets.rs"]
mod unix_sockets;
