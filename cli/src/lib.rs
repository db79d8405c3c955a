//! Runs OCI images as microVM sandboxes.
//!
//! The façade for other programs: [`vm::MicroVm`] boots a guest from a directory and runs one command in it. The
//! command line of `monocore` and `mc` is `command`.

#[doc(hidden)]
pub mod command;
pub mod vm;
