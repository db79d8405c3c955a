//! Arbitrary bytes, arriving in arbitrary pieces, as the frames of host and guest: whatever is a message means the same
//! when it is sent again, whatever is none is refused, and no more is held than was sent.
//!
//! The first byte says whose frames they are, the second how long the pieces are.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use monocore_protocol::{
    Decoder, Event, MAX_FRAME_BYTES, MAX_OPENING_BYTES, Opening, Request, decode, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn feed<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    mut decoder: Decoder,
    pieces: &[u8],
    length: usize,
) {
    for piece in pieces.chunks(length) {
        decoder.push(piece);
        loop {
            match decoder.take::<T>() {
                Ok(Some(message)) => {
                    // Sent again it is as long or shorter: numbers may have come in more bytes than they need.
                    let frame = encode(&message).expect("what fitted a frame fits one");
                    assert_eq!(decode::<T>(&frame[4..]).as_ref(), Ok(&message));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!((1..=MAX_FRAME_BYTES + 4).contains(&decoder.missing_bytes()));
    }
}

fuzz_target!(|data: &[u8]| {
    let [whose, length, pieces @ ..] = data else { return };
    let length = usize::from(*length).max(1);
    match whose % 3 {
        0 => feed::<Request>(Decoder::default(), pieces, length),
        1 => feed::<Event>(Decoder::default(), pieces, length),
        _ => feed::<Opening>(Decoder::new(MAX_OPENING_BYTES), pieces, length),
    }
});
