//! The suite of socket operations: a guest's answers are a plain Linux's, except for those that `docs/sockets.md` lists.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::ground::{self, Mode, PEER_V4, PEER_V6, SUITE};

in_each_mode!(alone: a_guests_sockets_answer_as_linux_does);

/// The differences that are known, as users read them.
const DIFFERENCES: &str = include_str!("../../../docs/sockets.md");
/// So many assertions at least.
const LEAST: usize = 800;

/// Assertions and their answers; where that is the expected one, [`EXPECTED`].
type Answers = BTreeMap<String, String>;

/// Stands for whatever the suite expects, which may be an address or a port of its own choice.
const EXPECTED: &str = "as expected";

/// The suite's lines, each assertion with its answer.
fn answers(output: &Output) -> Answers {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut answers = Answers::new();
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix("ok ").and_then(|line| line.split_once(" = ")) {
            answers.insert(name.to_owned(), EXPECTED.to_owned());
        }
        let wrong = line.strip_prefix("not ok ").and_then(|line| line.split_once(" # "));
        if let Some((name, answer)) = wrong.and_then(|(line, _)| line.split_once(" = ")) {
            answers.insert(name.to_owned(), answer.to_owned());
        }
    }
    assert!(answers.len() >= LEAST, "{text}{}", String::from_utf8_lossy(&output.stderr));
    answers
}

/// Starts the other end at `port` and the ones after it.
fn peer(port: u16) -> ground::Running {
    let mut command = Command::new(SUITE);
    ground::start(command.args(["peer", &port.to_string(), "127.0.0.1", "::1", PEER_V4, PEER_V6]))
}

/// What this machine's own Linux answers.
fn native() -> &'static Answers {
    static NATIVE: OnceLock<Answers> = OnceLock::new();
    NATIVE.get_or_init(|| {
        ground::world();
        let _peer = peer(7440);
        let output = Command::new(SUITE).args(["run", "7440", "7540", PEER_V4, PEER_V6]).output().unwrap();
        let answers = answers(&output);
        let wrong: Vec<_> = answers.iter().filter(|(_, answer)| *answer != EXPECTED).collect();
        assert!(wrong.is_empty(), "Linux does not answer as the suite expects: {wrong:#?}");
        answers
    })
}

/// The differences listed for `mode`: names of assertions, without the family's digit where it holds for both.
fn listed(mode: Mode) -> Answers {
    let mut rows = DIFFERENCES.lines().filter_map(|line| line.strip_prefix("| ")).map(|line| {
        line.trim_end_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    });
    let head: Vec<String> = rows.next().unwrap();
    let column = head.iter().position(|name| name == mode.name()).unwrap();
    let rows: Vec<Vec<String>> = rows.filter(|cells: &Vec<String>| !cells[0].starts_with('-')).collect();
    let told = rows.into_iter().filter(|cells| cells[column] != "the same");
    told.map(|cells| (cells[0].clone(), cells[column].clone())).collect()
}

/// An assertion's name without its family.
fn for_both(name: &str) -> String {
    let (group, rest) = name.split_once(": ").unwrap();
    format!("{}: {rest}", group.trim_end_matches(['4', '6']))
}

fn a_guests_sockets_answer_as_linux_does(mode: Mode) {
    let expected = native();
    let (port, inbound) = (7400 + 10 * mode.number(), 7500 + 10 * mode.number());
    let _peer = peer(port);
    let places = [
        format!("{inbound}:{inbound}"),
        format!("{inbound}:{inbound}/udp"),
        format!("[::1]:{inbound}:{inbound}"),
        format!("[::1]:{inbound}:{inbound}/udp"),
    ];
    let publish: Vec<&str> = places.iter().flat_map(|place| ["-p", place]).collect();
    let (port, inbound) = (port.to_string(), inbound.to_string());
    let command = ["socket-suite", "run", &port, &inbound, PEER_V4, PEER_V6];
    let seen = answers(&ground::run(mode, &publish, &command).output().unwrap());

    let mut listed = listed(mode);
    let mut unlisted = Vec::new();
    let mut used = Vec::new();
    for name in expected.keys().chain(seen.keys().filter(|name| !expected.contains_key(*name))) {
        let (linux, guest) = (expected.get(name), seen.get(name));
        if linux == guest {
            continue;
        }
        let known = [name.clone(), for_both(name)].into_iter().find(|name| listed.get(name) == guest);
        match known {
            Some(row) => used.push(row),
            None => unlisted.push(format!("{name}: {linux:?} on Linux, {guest:?} in the guest")),
        }
    }
    listed.retain(|name, _| !used.contains(name));
    assert!(unlisted.is_empty(), "differences that are not listed: {unlisted:#?}");
    assert!(listed.is_empty(), "listed, but not seen: {listed:#?}");
}
