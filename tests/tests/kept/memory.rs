//! Memory that the guest has freed is the host's again.

use crate::support::{Background, machine_mib, until};

#[test]
fn what_a_guest_frees_goes_back_to_the_host() {
    let sandbox = Background::run("gives-back", &["--tmpfs", "/fill:size=80m"], "sleep 1000");
    let idle = machine_mib(&sandbox);
    assert_eq!(sandbox.exec(&[], "dd if=/dev/zero of=/fill/it bs=1M count=60").code, 0);
    let full = machine_mib(&sandbox);
    assert!(full >= idle + 50, "{idle} MiB, then {full} MiB");
    // It is there again as before: what was given back is taken anew.
    for _ in 0..2 {
        assert_eq!(sandbox.exec(&[], "rm /fill/it").code, 0);
        until("the memory is the host's again", || machine_mib(&sandbox) <= idle + 12);
        let again =
            "dd if=/dev/urandom of=/fill/it bs=1M count=60 && cp /fill/it /dev/null && wc -c < /fill/it";
        assert_eq!(sandbox.exec(&[], again).out(), "62914560\n");
    }
}
