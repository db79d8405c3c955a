//! Commands that use up what the guest has.

use crate::support::{Background, machine_mib};

#[test]
fn what_uses_everything_up_ends_alone() {
    let sandbox = Background::run("hostile", &["--root-disk", "64m"], "sleep 1000");
    let full = sandbox.exec(&[], "dd if=/dev/zero of=/big bs=1M count=100");
    assert!(full.code != 0 && full.stderr.contains("No space left on device"), "{full:?}");
    // A hog is ended by the guest's kernel, and nothing else is.
    assert_eq!(sandbox.exec(&[], "tail /dev/zero").code, 137);
    assert_eq!(sandbox.exec(&[], "rm /big && echo fine").out(), "fine\n");
    let mib = machine_mib(&sandbox);
    assert!(mib <= 128 + 64, "{mib} MiB");
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
}
