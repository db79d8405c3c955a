//! What a guest's connection begins with, where a name decided that it may be: a verdict is the same however the bytes come.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_proxy::hello::{Hello, MAX_HELLO_BYTES};

fuzz_target!(|input: &[u8]| {
    // The first byte says where the rest is cut.
    let Some((&cut, bytes)) = input.split_first() else { return };
    let whole = Hello::read(bytes);
    let early = Hello::read(&bytes[..bytes.len() * usize::from(cut) / 256]);
    assert!(early == Hello::Incomplete || early == whole, "a verdict changed");
    assert!(whole != Hello::Incomplete || bytes.len() < MAX_HELLO_BYTES, "there is no end to waiting");
    if let Hello::Named(name) = whole {
        assert!(!name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
