//! `monocore serve`: sandboxes, commands, streams and projects over the REST API, with guests.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "serve/client.rs"]
mod client;
#[path = "serve/exec.rs"]
mod exec;
#[path = "serve/projects.rs"]
mod projects;
#[path = "serve/sandboxes.rs"]
mod sandboxes;
#[path = "serve/shell.rs"]
mod shell;
