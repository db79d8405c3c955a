//! `vmm SPEC_FD LIFELINE_FD`, hidden: this process becomes a virtual machine.

use std::ffi::OsString;
use std::process::ExitCode;

use super::OUR_FAILURE;

pub(super) fn main(words: &[OsString]) -> ExitCode {
    let numbers: Vec<i32> = words.iter().filter_map(|word| word.to_str()?.parse().ok()).collect();
    match numbers[..] {
        [spec, lifeline] if words.len() == 2 => monocore_vmm::process::main(spec, lifeline),
        _ => {
            super::output::error(&anyhow::anyhow!(
                "`vmm` is for monocore itself: it takes two inherited descriptors"
            ));
            ExitCode::from(OUR_FAILURE)
        }
    }
}
