//! The program `stand-in`, as tests use it.

/// The variable that names the file with a fault: one of the two that every process of a sandbox is given.
pub const FAULT_VARIABLE: &str = "RUST_BACKTRACE";
