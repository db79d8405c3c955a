//! The Python and TypeScript SDKs with guests: every example of their guides, and programs that are
//! killed.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "sdk/image.rs"]
mod image;
#[path = "sdk/programs.rs"]
mod programs;
#[path = "sdk/python.rs"]
mod python;
#[path = "sdk/typescript.rs"]
mod typescript;
