use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::journal::append;
use super::*;
use crate::Home;
use crate::run_dir::Record;

fn subject(name: &str) -> Subject {
    let text = format!(
        r#"{{"id":"0123456789ab","name":"{name}","root":"alpine:3","labels":{{"tier":"db"}},"pid":1,"created":2}}"#
    );
    Subject::from(&serde_json::from_str::<Record>(&text).unwrap())
}

fn all(reader: &mut EventReader) -> Vec<String> {
    std::iter::from_fn(|| reader.next_event().unwrap()).map(|event| event.action).collect()
}

#[test]
fn an_event_has_dockers_shape() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    note(&home, &subject("web"), "die", &[("exitCode", "7")]);
    let text = std::fs::read_to_string(home.events().join("events.jsonl")).unwrap();
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&event["Type"], &event["Action"], &event["status"]),
        (&"container".into(), &"die".into(), &"die".into())
    );
    assert_eq!((&event["id"], &event["Actor"]["ID"]), (&"0123456789ab".into(), &"0123456789ab".into()));
    let attributes: BTreeMap<String, String> =
        serde_json::from_value(event["Actor"]["Attributes"].clone()).unwrap();
    let expected = [("exitCode", "7"), ("image", "alpine:3"), ("name", "web"), ("tier", "db")];
    assert_eq!(attributes, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let (seconds, nanoseconds) = (event["time"].as_u64().unwrap(), event["timeNano"].as_u64().unwrap());
    assert_eq!(nanoseconds / 1_000_000_000, seconds);
}

#[test]
fn a_reader_gets_each_event_once_across_rotations_and_writers() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    let mut reader = EventReader::open(&home, EventStart::Now).unwrap();
    assert!(!reader.wait(Some(SystemTime::now() + Duration::from_millis(10))).unwrap());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let home = home.clone();
            std::thread::spawn(move || {
                for number in 0..200 {
                    let action = format!("{writer}:{number}");
                    let mut line = Vec::new();
                    serde_json::to_writer(&mut line, &event(&action)).unwrap();
                    line.push(b'\n');
                    append(&home.events(), &line, 140_000).unwrap();
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 800 {
        seen.extend(all(&mut reader));
        if seen.len() < 800 {
            assert!(
                reader.wait(Some(SystemTime::now() + Duration::from_secs(30))).unwrap(),
                "{}",
                seen.len()
            );
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(all(&mut reader), Vec::<String>::new());
    for writer in 0..4 {
        let prefix = format!("{writer}:");
        let numbers: Vec<usize> =
            seen.iter().filter_map(|action| action.strip_prefix(&prefix)?.parse().ok()).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "in order, none twice");
    }
    let files = std::fs::read_dir(home.events()).unwrap().count();
    assert_eq!(files, 2, "one old file is kept");
    let mut again = EventReader::open(&home, EventStart::Oldest).unwrap();
    assert_eq!(all(&mut again).last(), seen.last());
}

#[test]
fn a_reader_that_looks_late_gets_what_was_put_aside_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    let note = |action: &str| {
        let mut line = serde_json::to_vec(&event(action)).unwrap();
        line.push(b'\n');
        append(&home.events(), &line, 600).unwrap();
    };
    let mut none_yet = EventReader::open(&home, EventStart::Now).unwrap();
    ["a", "b", "c"].into_iter().for_each(note);
    assert_eq!(std::fs::read_dir(home.events()).unwrap().count(), 2, "one was put aside");
    assert_eq!(all(&mut none_yet), ["a", "b", "c"]);
    // Nothing is written to at this moment; what was put aside is not of now.
    std::fs::rename(home.events().join("events.jsonl"), home.events().join("events.1.jsonl")).unwrap();
    let mut between = EventReader::open(&home, EventStart::Now).unwrap();
    note("d");
    assert_eq!(all(&mut between), ["d"]);
    assert_eq!(all(&mut none_yet), ["d"]);
}

fn event(action: &str) -> SandboxEvent {
    let attributes = [("name", "web"), ("image", "alpine:3"), ("tier", "db")];
    SandboxEvent {
        status: action.to_owned(),
        id: "0123456789ab".to_owned(),
        from: "alpine:3".to_owned(),
        kind: "container".to_owned(),
        action: action.to_owned(),
        actor: EventActor {
            id: "0123456789ab".to_owned(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        },
        scope: "local".to_owned(),
        time: 1,
        time_ns: 1_000_000_000,
    }
}

#[test]
fn half_a_line_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    note(&home, &subject("web"), "create", &[]);
    append(&home.events(), b"{\"Type\":\"cont\n", 1 << 20).unwrap();
    note(&home, &subject("web"), "start", &[]);
    let mut reader = EventReader::open(&home, EventStart::Oldest).unwrap();
    assert_eq!(all(&mut reader), ["create", "start"]);
}

#[test]
fn filters_of_one_key_are_alternatives_and_keys_add_up() {
    let takes = |filters: &[&str], action: &str| {
        let filters: Vec<_> = filters.iter().map(|text| parse_event_filter(text).unwrap()).collect();
        EventFilter::all_take(&filters, &event(action))
    };
    assert!(takes(&[], "start"));
    assert!(takes(&["event=die", "event=start"], "start") && !takes(&["event=die"], "start"));
    assert!(takes(&["event=health_status"], "health_status: healthy"));
    assert!(takes(&["event=health_status: healthy"], "health_status: healthy"));
    assert!(takes(&["container=web"], "start") && takes(&["container=0123"], "start"));
    assert!(!takes(&["container=we"], "start"));
    assert!(takes(&["image=alpine"], "start") && takes(&["image=alpine:3"], "start"));
    assert!(takes(&["label=tier"], "start") && takes(&["label=tier=db"], "start"));
    assert!(!takes(&["label=tier=db", "label=other"], "start"));
    assert!(takes(&["type=container", "event=start"], "start") && !takes(&["type=image"], "start"));
    for bad in ["", "event", "event=", "network=x", "=x"] {
        assert!(parse_event_filter(bad).is_err(), "{bad}");
    }
}
