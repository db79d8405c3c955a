//! What goes between two members, in every pair of modes.

use crate::ground::Mode;
use crate::{serve, visit};

/// Bytes each way.
const LONG: &str = "100000000";
/// Connections at once.
const CROWD: &str = "500";

fn everything(server: Mode, client: Mode, group: &str) {
    let name = format!("{group}-db");
    let membership = format!("{group},alias=store");
    let _server = serve(server, &name, &["--group", &membership], 7000);
    let ran = visit(client, &["--group", group], &["net-load", "visit", "store", "7000", LONG, CROWD]);
    let said = ran.out();
    assert!(said.starts_with("visited 10."), "{said}");
    assert!(said.ends_with(&format!("{LONG} bytes each way, {CROWD} connections\n")), "{said}");
}

#[test]
fn nat_to_nat() {
    everything(Mode::Nat, Mode::Nat, "nat-nat");
}

#[test]
fn tsi_to_nat() {
    everything(Mode::Nat, Mode::Tsi, "nat-tsi");
}

#[test]
fn nat_to_tsi() {
    everything(Mode::Tsi, Mode::Nat, "tsi-nat");
}

#[test]
fn tsi_to_tsi() {
    everything(Mode::Tsi, Mode::Tsi, "tsi-tsi");
}
