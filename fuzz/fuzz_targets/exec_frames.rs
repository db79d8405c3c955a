//! Arbitrary messages of a WebSocket client: a frame is its channel and its bytes or nothing, and whatever is a text
//! message means the same when it is sent again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_api::{ClientMessage, ExecStart, StreamFrame};

fuzz_target!(|data: &[u8]| {
    if let Some(frame) = StreamFrame::decode(data) {
        assert_eq!(frame.encode(), data);
    }
    if let Ok(message) = serde_json::from_slice::<ClientMessage>(data) {
        let again = serde_json::to_vec(&message).expect("plain data");
        assert_eq!(serde_json::from_slice::<ClientMessage>(&again).ok().as_ref(), Some(&message));
    }
    if let Ok(start) = serde_json::from_slice::<ExecStart>(data) {
        let again = serde_json::to_vec(&start).expect("plain data");
        assert_eq!(serde_json::from_slice::<ExecStart>(&again).ok().as_ref(), Some(&start));
    }
});
