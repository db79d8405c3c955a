//! DNS messages of a guest and of name servers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_proxy::message::{Answer, Code, Question, failure, truncated};

fuzz_target!(|input: &[u8]| {
    if let Ok(question) = Question::parse(input) {
        assert!(question.name.len() <= 255);
        // What we say of it is a message ourselves.
        let said = failure(input, Code::Refused);
        assert!(Answer::parse(&said).is_some_and(|answer| answer.all_addresses.is_empty()));
    }
    if let Some(answer) = Answer::parse(input) {
        assert!(answer.addresses.iter().all(|(address, _)| answer.all_addresses.contains(address)));
    }
    let _ = truncated(input);
});
