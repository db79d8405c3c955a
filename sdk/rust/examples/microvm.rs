//! Boots a guest whose root is a directory, runs one command in it and ends with its status:
//! `cargo run --example microvm -- /path/to/rootfs /bin/true`.

use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut words = std::env::args_os().skip(1);
    let root = words.next().ok_or("usage: microvm ROOTFS PROGRAM [ARG…]")?;
    let program = words.next().ok_or("usage: microvm ROOTFS PROGRAM [ARG…]")?;
    let vm = monocore::vm::MicroVm::builder()
        .root_path(root) // a directory, served by virtio-fs
        .ram_mib(512)
        .exec_path(program)
        .args(words)
        .build()?;
    let status = vm.start()?; // blocks until the guest ends
    Ok(ExitCode::from(status.code()))
}
