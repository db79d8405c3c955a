//! Boots a kernel and an initramfs with the serial port on standard output, and says how the machine ended.
//!
//! `cargo run -p monocore-vmm --example boot -- VMLINUX INITRAMFS [WORDS…]`
#![allow(clippy::print_stdout, reason = "what it is for")]

use std::error::Error;

use monocore_vmm::Builder;
use monocore_vmm::spec::Sink;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, initramfs, words @ ..] = &arguments[..] else {
        return Err("usage: boot VMLINUX INITRAMFS [WORDS…]".into());
    };
    let machine = Builder::new(kernel)
        .initrd(initramfs)
        .ram_mib(256)
        .command_line(&words.join(" "))
        .serial(Sink::Fd(1))
        .build()?;
    let exit = machine.run()?;
    println!("{exit:?}");
    Ok(())
}
