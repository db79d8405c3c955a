//! Files that this machine and a guest change in turn: each sees what was, or what is, and never a mixture.

use std::time::{Duration, Instant};

use monocore_tests::share_probe::runs;

use crate::probe::Sharers;

/// How many edits are made: all 2,000 only where `MONOCORE_TEST_LONG` is set.
fn edits() -> usize {
    if std::env::var_os("MONOCORE_TEST_LONG").is_some() { 2_000 } else { 200 }
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// What an edit leaves of a file.
fn edited(content: &[u8], how: &str, letter: u8, len: usize) -> Vec<u8> {
    let mut content = content.to_vec();
    match how {
        "append" => content.extend(vec![letter; len]),
        "cut" => content.resize(len, 0),
        "inside" => {
            content.resize(content.len().max(len), letter);
            content[..len].fill(letter);
        }
        _ => content = vec![letter; len],
    }
    content
}

/// What a probe answers to `look` where a file holds this.
fn sight(content: &[u8]) -> String {
    format!("{} {} {}", content.len(), runs(content), runs(content))
}

#[test]
fn edits_on_either_side_are_seen_whole_and_within_a_second() {
    let mut sharers = Sharers::new(["host-edits-a", "host-edits-b"]);
    let mut random = Random(28);
    let files = ["f0", "f1", "f2"];
    let mut model: Vec<Vec<u8>> = files.iter().map(|_| b"aaa".to_vec()).collect();
    for file in files {
        std::fs::write(sharers.folder.join(file), "aaa").unwrap();
    }
    for n in 0..edits() {
        let at = random.below(files.len());
        let how = ["over", "append", "cut", "inside", "replace", "anew"][random.below(6)];
        let editor = ["H1", "H1", "A1", "B1"][random.below(4)];
        let letter = b'a' + u8::try_from(n % 26).unwrap();
        let len = if random.below(2) == 0 { random.below(20) } else { random.below(20_000) };
        // What the guest holds in its cache when the file changes.
        if random.below(3) > 0 {
            sharers.probe("A1").ask(&format!("look {}", files[at]));
        }
        let old = sight(&model[at]);
        let edit = format!("edit {} {how} {} {len}", files[at], char::from(letter));
        assert_eq!(sharers.probe(editor).ask(&edit), "ok", "{n}: {editor} {edit}");
        model[at] = edited(&model[at], how, letter, len);
        let (new, since) = (sight(&model[at]), Instant::now());
        assert_eq!(std::fs::read(sharers.folder.join(files[at])).unwrap(), model[at], "{n}: {editor} {edit}");
        for viewer in ["A1", "B1"] {
            loop {
                let asked = since.elapsed();
                let seen = sharers.probe(viewer).ask(&format!("look {}", files[at]));
                if seen == new {
                    break;
                }
                assert_eq!(seen, old, "{n}: {editor} {edit}, seen by {viewer}: a mixture");
                assert!(viewer != editor, "{n}: {editor} {edit}: its own edit was not seen");
                // The clock of the guest may be a little slow.
                assert!(
                    asked < Duration::from_millis(1500),
                    "{n}: {editor} {edit}: {viewer} sees the old file"
                );
            }
        }
    }
}
