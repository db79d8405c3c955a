//! Keeps one idle virtual machine in the testbed for as long as a job runs.
//!
//! KVM patches its own code (static keys) when the first machine comes, the last one goes and whenever the number of
//! software-disabled local APICs leaves or reaches zero. Software emulation on several threads does not always see such
//! a patch in time: the outer kernel then dies of a breakpoint nobody claims. A machine whose vCPU never runs holds those
//! keys where they are.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use kvm_ioctls::Kvm;

/// The shell lines that start the pin and wait until it holds.
pub(super) fn script() -> Result<OsString> {
    let xtask = std::env::current_exe().context("cannot find this program")?;
    let mut lines = OsString::from("mkfifo /run/.pin && { '");
    lines.push(xtask);
    lines.push("' testbed-pin > /run/.pin & read held < /run/.pin; rm /run/.pin; }\n");
    Ok(lines)
}

/// The pin itself: ends only by being ended.
pub(crate) fn run() -> Result<ExitCode> {
    let vm = Kvm::new().context("cannot open /dev/kvm")?.create_vm().context("cannot make a machine")?;
    vm.create_irq_chip().context("cannot make its interrupt controller")?;
    let _vcpu = vm.create_vcpu(0).context("cannot make its vCPU")?;
    let mut stdout = std::io::stdout();
    stdout.write_all(b"held\n").and_then(|()| stdout.flush()).context("nobody waits for the pin")?;
    loop {
        thread::park();
    }
}
