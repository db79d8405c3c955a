//! Runs OCI images as microVM sandboxes.

fn main() {}
