//! `monocore vmm` alone: becomes the machine whose specification is read from descriptor 3, with descriptor 4 as lifeline.

use std::process::ExitCode;

fn main() -> ExitCode {
    monocore_vmm::process::main(3, 4)
}
