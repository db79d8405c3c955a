//! PID 1 and agent of a guest.

fn main() {}
