//! Compose files as people write them: the examples of docker/awesome-compose (CC0), each accepted, or refused by the
//! exact key and line. `wild.txt` has them in the form of `bad.txt`.

use super::bad::cases;

const WILD: &str = include_str!("wild.txt");

#[test]
fn every_example_is_accepted_or_refused_by_key_and_line() {
    let mut wrong = String::new();
    for case in &cases(WILD) {
        let found = case.load().1.err().unwrap_or_default();
        if found != case.expected {
            wrong.push_str(&format!("#### {}\n{}\n", case.title, found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "these differ:\n{wrong}");
}

/// An example that builds its images is otherwise fine: nothing but the missing images is wrong without the builds.
#[test]
fn nothing_but_builds_and_two_keys_is_refused() {
    let mut accepted = 0;
    for case in &cases(&WILD.replace("    build:", "    x-build:")) {
        let found = case.load().1.err().unwrap_or_default();
        let other: Vec<_> = found.iter().filter(|error| !error.contains("the image is missing")).collect();
        match case.title.as_str() {
            "plex" => assert!(
                other.iter().all(|error| error.contains("plex.network_mode") || error.contains("volumes"))
            ),
            "wireguard" => assert!(other.iter().all(|error| error.contains("wireguard.sysctls"))),
            title => {
                assert!(other.is_empty(), "{title}: {other:?}");
                accepted += 1;
            }
        }
    }
    assert!(accepted >= 37, "{accepted}");
}
