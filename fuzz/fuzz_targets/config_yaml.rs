//! Project files in YAML, with anchors, aliases and merge keys.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_fuzz::config::check;

fuzz_target!(|text: &str| check("monocore.yaml", text));
