//! Arbitrary bytes as the records of sandboxes: whatever is one means the same when it is written again.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use monocore_orchestrator::{GroupRecord, HealthReport, KeptRecord, Record, SandboxState};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn judge<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<T>(text) {
        let again = serde_json::to_vec(&record).expect("plain data");
        assert_eq!(serde_json::from_slice::<T>(&again).expect("what was just written"), record);
    }
}

fuzz_target!(|data: &[u8]| {
    judge::<KeptRecord>(data);
    judge::<SandboxState>(data);
    judge::<Record>(data);
    judge::<HealthReport>(data);
    judge::<GroupRecord>(data);
});
