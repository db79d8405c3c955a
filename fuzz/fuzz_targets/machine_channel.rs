//! Arbitrary bytes as packets of the machine control channel: whatever is a message means the same when it is sent
//! again, whatever is none is refused.
//!
//! The first byte says whose packet it is and whether it has a right header.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use monocore_channel::{CHANNEL_VERSION, MachineReply, MachineRequest, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn judge<T: Serialize + DeserializeOwned + PartialEq + Debug>(packet: &[u8]) {
    let (number, message) = decode::<T>(packet);
    if let Ok(message) = message {
        let again = encode(number, &message).expect("what fitted a packet fits one");
        assert_eq!(decode::<T>(&again), (number, Ok(message)));
    }
}

fuzz_target!(|data: &[u8]| {
    let [whose, rest @ ..] = data else { return };
    let packet = match whose & 2 {
        0 => rest.to_vec(),
        _ => [&CHANNEL_VERSION.to_le_bytes()[..], &[7, 0, 0, 0], rest].concat(),
    };
    match whose & 1 {
        0 => judge::<MachineRequest>(&packet),
        _ => judge::<MachineReply>(&packet),
    }
});
