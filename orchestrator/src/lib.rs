//! Sandboxes: run directories, disks, supervision, the session with the guest's agent.

pub mod session;
