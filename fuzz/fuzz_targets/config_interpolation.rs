//! Variables in the texts of a Compose file and of one of monocore's own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_fuzz::config::{check, quoted};

fuzz_target!(|text: &str| {
    let text = quoted(text);
    check("compose.yaml", &format!("{{\"services\": {{\"a\": {{\"image\": \"x\", \"command\": [{text}]}}}}}}"));
    check("monocore.yaml", &format!("{{\"service\": {{\"a\": {{\"base\": \"x\", \"args\": [{text}]}}}}}}"));
});
