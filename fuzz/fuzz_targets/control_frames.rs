//! Arbitrary bytes as frames of a sandbox's control socket: whatever is a message means the same when it is sent again,
//! whatever is none is refused.
//!
//! The first byte says whose frame it is and whether it has the right version.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_orchestrator::fuzzing;

fuzz_target!(|data: &[u8]| {
    let [whose, rest @ ..] = data else { return };
    let frame = match whose & 2 {
        0 => rest.to_vec(),
        _ => [&fuzzing::version().to_le_bytes()[..], rest].concat(),
    };
    match whose & 1 {
        0 => fuzzing::request(&frame),
        _ => fuzzing::reply(&frame),
    }
});
