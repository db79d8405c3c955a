//! Sandboxes that outlive their command: create, start, exec, stop, logs, rm, as a user types them.

#[path = "kept/crash.rs"]
mod crash;
#[path = "kept/exec.rs"]
mod exec;
#[path = "kept/life.rs"]
mod life;
#[path = "kept/support.rs"]
mod support;
