//! What a supervisor asks of its machine.

use crate::support::{Background, ran};

#[test]
fn stats_show_what_guest_and_machine_count() {
    let sandbox = Background::run("machine-stats", &[], "sleep 1000");
    assert_eq!(sandbox.exec(&[], "dd if=/dev/zero of=/file bs=1M count=8 2>/dev/null && sync").code, 0);
    let shown: serde_json::Value =
        serde_json::from_str(ran(&[&["stats", "--format", "json", "machine-stats"]]).out()).unwrap();
    let count = |name: &str| shown[0][name].as_u64().unwrap_or_else(|| panic!("no {name}: {shown}"));
    assert!(count("block_written_bytes") >= 8 << 20, "{shown}");
    assert!(count("block_read_bytes") > 0, "{shown}");
    assert!(count("machine_cpu_ms") > 0, "{shown}");
    assert!(count("memory_used_bytes") > 0, "{shown}");
    let table = ran(&[&["stats", "machine-stats"]]);
    assert!(table.out().contains("BLOCK I/O") && !table.out().contains("--"), "{table:?}");
}
