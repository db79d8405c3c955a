//! Compose files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_fuzz::config::check;

fuzz_target!(|text: &str| check("compose.yaml", text));
