//! Who is not of a group reaches no member, and a member reaches nobody else by being one.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::ground::{self, Mode};
use crate::{serve, visit};

/// The port of a member, and of a service of this machine.
const PORT: u16 = 7010;
/// A published port of a member.
const PUBLISHED: u16 = 7011;

/// How many addresses are attacked: all 2,500, which is 10,000 tries, only where `MONOCORE_TEST_LONG` is set.
fn rounds() -> u32 {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 2500 } else { 400 }
}

fn a_member_is_all_that_a_member_reaches(mode: Mode, tag: &str) {
    ground::world();
    let (inside, outside) = (format!("{tag}-inside"), format!("{tag}-outside"));
    let port = PORT + 10 * mode.number();
    let published = format!("127.0.0.1:{}:{port}", PUBLISHED + 10 * mode.number());
    // A service of this machine that tells whom it served.
    let service = TcpListener::bind(("0.0.0.0", port)).unwrap();
    thread::spawn(move || {
        for stream in service.incoming() {
            let _ = stream.unwrap().write_all(b"host");
        }
    });
    let _friend = serve(mode, &format!("{tag}-friend"), &["--group", &inside], port);
    let _stranger = serve(
        mode,
        &format!("{tag}-stranger"),
        &["--group", &format!("{outside},alias={tag}-secret"), "-p", &published],
        port,
    );
    let shown = ground::world().monocore(["network", "inspect", &outside]).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let theirs = shown[0]["members"][0]["address"].as_str().unwrap();
    let flags = ["--group", inside.as_str(), "--reach", "group"];
    let friend = format!("{tag}-friend");
    let seen = visit(mode, &flags, &["net-load", "visit", &friend, &port.to_string(), "1000", "2"]);
    assert!(seen.out().starts_with("visited 10."), "{seen:?}");
    let targets: Vec<String> = [theirs, "10.77.0.1", "169.254.169.254", "127.0.0.2", ground::PEER_V4]
        .iter()
        .flat_map(|address| [port, PUBLISHED + 10 * mode.number()].map(|port| format!("{address}:{port}")))
        .collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let tried = visit(mode, &flags, &[&["net-load", "reach"], &targets[..]].concat());
    assert_eq!(tried.out(), "20 tries, 0 connected\n");
    let rounds = rounds();
    let published = (PUBLISHED + 10 * mode.number()).to_string();
    let attack = ["net-load", "attack", &rounds.to_string(), &port.to_string(), &published];
    let tried = visit(mode, &flags, &attack);
    assert_eq!(tried.out(), format!("{} tries, 0 connected\n", 4 * rounds));
    // Names of another group are nobody's.
    let asked = visit(mode, &flags, &["busybox", "nslookup", &format!("{tag}-secret")]);
    assert!(!asked.stdout.contains(theirs), "{asked:?}");
    // Who is in no group finds neither name nor address.
    let target = format!("{theirs}:{port}");
    let tried = visit(mode, &["--reach", "any"], &["net-load", "reach", &target]);
    assert_eq!(tried.out(), "2 tries, 0 connected\n");
}

#[test]
fn a_member_is_all_that_a_member_reaches_by_nat() {
    a_member_is_all_that_a_member_reaches(Mode::Nat, "nat");
}

#[test]
fn a_member_is_all_that_a_member_reaches_by_tsi() {
    a_member_is_all_that_a_member_reaches(Mode::Tsi, "tsi");
}

#[test]
fn a_rule_and_a_reach_hold_among_members() {
    let group = ["--group", "ruled"];
    let _server =
        serve(Mode::Nat, "ruled-db", &[&group[..], &["--net-rule", "deny:*,port=7020,in"]].concat(), 7020);
    let _open = serve(Mode::Nat, "ruled-open", &group, 7020);
    let reach = |flags: &[&str], name: &str| {
        let script = format!(
            "net-load reach $(busybox nslookup {name} | busybox grep -o '10\\.2[0-9.]*$' | head -n1):7020"
        );
        visit(Mode::Nat, &[&group[..], flags].concat(), &["sh", "-c", &script])
    };
    assert_eq!(reach(&[], "ruled-open").out(), "2 tries, 1 connected\n");
    assert_eq!(reach(&[], "ruled-db").out(), "2 tries, 0 connected\n");
    assert_eq!(reach(&["--reach", "none"], "ruled-open").out(), "2 tries, 0 connected\n");
    assert_eq!(reach(&["--net-rule", "deny:10.0.0.0/8"], "ruled-open").out(), "2 tries, 0 connected\n");
}
