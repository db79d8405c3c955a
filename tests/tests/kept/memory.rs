//! Memory that the guest has freed is the host's again.

use crate::support::{Background, of_machine, until};

#[test]
fn what_a_guest_frees_goes_back_to_the_host() {
    let sandbox = Background::run("gives-back", &["--tmpfs", "/fill:size=80m"], "sleep 1000");
    // Without the kernel's pages, of which each machine has its share.
    let own = || of_machine(&sandbox, "Anonymous:");
    let idle = own();
    assert_eq!(sandbox.exec(&[], "dd if=/dev/zero of=/fill/it bs=1M count=60").code, 0);
    let full = own();
    assert!(full >= idle + 50, "{idle} MiB, then {full} MiB");
    // It is there again as before: what was given back is taken anew.
    for _ in 0..2 {
        assert_eq!(sandbox.exec(&[], "rm /fill/it").code, 0);
        until("the memory is the host's again", || own() <= idle + 12);
        let again =
            "dd if=/dev/urandom of=/fill/it bs=1M count=60 && cp /fill/it /dev/null && wc -c < /fill/it";
        assert_eq!(sandbox.exec(&[], again).out(), "62914560\n");
    }
}
