//! Sandboxes whose machines are played: thousands of starts and stops, and sudden ends of every process at each of its
//! steps. No guest is needed.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "host_stand_in/cycles.rs"]
mod cycles;
#[path = "host_faults/kept.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod kept;
#[path = "host_stand_in/kills.rs"]
mod kills;
#[path = "host_stand_in/played.rs"]
mod played;
