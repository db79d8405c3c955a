//! Projects: several sandboxes that one file describes, as a user types them.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "project/attached.rs"]
mod attached;
#[path = "project/changes.rs"]
mod changes;
#[path = "project/compose.rs"]
mod compose;
#[path = "project/costs.rs"]
mod costs;
#[path = "project/library.rs"]
mod library;
#[path = "project/life.rs"]
mod life;
#[path = "project/limits.rs"]
mod limits;
#[path = "project/pages.rs"]
mod pages;
#[path = "project/peers.rs"]
mod peers;
#[path = "project/ports.rs"]
mod ports;
#[path = "project/stack.rs"]
mod stack;
#[path = "project/support.rs"]
mod support;
#[path = "project/verbs.rs"]
mod verbs;
#[path = "project/watch.rs"]
mod watch;
#[path = "project/wild.rs"]
mod wild;
