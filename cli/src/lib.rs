//! The command line of `monocore` and `mc`. Other programs use the crate `monocore` instead.

pub mod command;
