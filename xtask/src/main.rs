//! The project's own commands: kernel, testbed, demo, test, ci, bench, fuzz.

fn main() {}
