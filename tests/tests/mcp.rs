//! `monocore mcp`: sandboxes as tools, with guests.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "mcp/client.rs"]
mod client;
#[path = "mcp/ends.rs"]
mod ends;
#[path = "mcp/foreign.rs"]
mod foreign;
#[path = "mcp/http.rs"]
mod http;
#[path = "mcp/inspector.rs"]
mod inspector;
#[path = "mcp/projects.rs"]
mod projects;
#[path = "mcp/sandboxes.rs"]
mod sandboxes;
