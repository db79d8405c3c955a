use proptest::prelude::*;

use super::*;

/// A query for `name`, with an OPT record that says how long an answer may be.
pub(crate) fn query(id: u16, name: &str, kind: u16, datagram_bytes: Option<u16>) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(datagram_bytes.is_some())]);
    bytes.extend(encode(name));
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(size) = datagram_bytes {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 6]);
    }
    bytes
}

pub(crate) fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The answer to `query` with `records`: owner, type, time to live, data.
pub(crate) fn answer(query: &[u8], records: &[(&str, u16, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = failure(query, Code::NoError);
    bytes[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    for (owner, kind, ttl, data) in records {
        bytes.extend(encode(owner));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

#[test]
fn a_question_is_read() {
    let question = Question::parse(&query(7, "WWW.Example.COM", 28, Some(1232))).unwrap();
    assert_eq!((&question.name[..], question.kind, question.datagram_bytes), ("www.example.com", 28, 1232));
    assert_eq!(Question::parse(&query(7, "", 2, None)).unwrap().name, "");
    assert_eq!(Question::parse(&[]), Err(None));
    let mut response = query(7, "a", 1, None);
    response[2] |= 0x80;
    assert_eq!(Question::parse(&response), Err(None));
    let mut update = query(7, "a", 1, None);
    update[2] = 5 << 3;
    assert_eq!(Question::parse(&update), Err(Some(Code::NotImplemented)));
    let mut two = query(7, "a", 1, None);
    two[5] = 2;
    assert_eq!(Question::parse(&two), Err(Some(Code::Format)));
    for bad in ["a\0b", "a b", "ä"] {
        assert_eq!(Question::parse(&query(7, bad, 1, None)), Err(Some(Code::Format)), "{bad}");
    }
    // A dot within a label, to look like another name.
    let mut dotted = query(7, "aXb", 1, None);
    dotted[14] = b'.';
    assert_eq!(Question::parse(&dotted), Err(Some(Code::Format)));
}

#[test]
fn addresses_are_those_of_the_name_and_its_aliases() {
    let query = query(9, "a.example", 1, None);
    let bytes = answer(
        &query,
        &[
            ("a.example", 5, 60, encode("b.example")),
            ("b.example", 1, 30, vec![1, 1, 1, 1]),
            ("stranger.example", 1, 30, vec![2, 2, 2, 2]),
            ("b.example", 28, 30, [0x20, 1].into_iter().chain([0; 14]).collect()),
        ],
    );
    let read = Answer::parse(&bytes).unwrap();
    assert!(read.is_to(&Question::parse(&query).unwrap(), 9));
    assert_eq!(read.addresses.len(), 2);
    assert_eq!(read.addresses[0], ([1, 1, 1, 1].into(), 30));
    assert_eq!(read.all_addresses.len(), 3);
    assert!(!read.is_to(&Question::parse(&query).unwrap(), 8));
    // An address of a length none has.
    assert_eq!(Answer::parse(&answer(&query, &[("a.example", 1, 1, vec![1, 2, 3])])), None);
}

#[test]
fn a_pointer_leads_backwards_only() {
    let mut bytes = query(1, "a", 1, None);
    bytes[2] |= 0x80;
    bytes[7] = 1;
    let here = u16::try_from(bytes.len()).unwrap();
    for target in [here, here + 2, 0x3fff] {
        let mut looped = bytes.clone();
        looped.extend((0xc000 | target).to_be_bytes());
        looped.extend([0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 1, 1, 1]);
        assert_eq!(Answer::parse(&looped), None);
    }
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 1, 1, 1]);
    assert_eq!(Answer::parse(&bytes).unwrap().addresses, [([1, 1, 1, 1].into(), 1)]);
}

#[test]
fn our_own_answers_repeat_the_question() {
    let query = query(0x1234, "a.b", 1, Some(4096));
    let refused = failure(&query, Code::Refused);
    assert_eq!(refused[..12], [0x12, 0x34, 0x81, 0x85, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refused[12..], query[12..query.len() - 11]);
    assert_eq!(truncated(&query)[2] & 2, 2);
    assert_eq!(failure(&[1, 2, 1, 0], Code::Format)[..4], [1, 2, 0x81, 0x81]);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = (Question::parse(&bytes), Answer::parse(&bytes), failure(&bytes, Code::Format), truncated(&bytes));
    }

    #[test]
    fn changed_answers_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12)) {
        let query = query(9, "a.example", 1, Some(1232));
        let mut bytes = answer(&query, &[("a.example", 5, 60, encode("b.example")), ("b.example", 1, 30, vec![1, 1, 1, 1])]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        if let Some(read) = Answer::parse(&bytes) {
            prop_assert!(read.addresses.len() <= read.all_addresses.len());
        }
    }
}

#[test]
fn a_groups_addresses_are_an_answer_as_a_server_gives_it() {
    let all: Vec<Ipv4Addr> = (2..40).map(|last| Ipv4Addr::new(10, 200, 0, last)).collect();
    let asked = query(7, "db", TYPE_A, None);
    let question = Question::parse(&asked).unwrap();
    let read = Answer::parse(&addresses(&asked, &question, &all[..2], 512)).unwrap();
    assert!(read.is_to(&question, 7));
    let expected: Vec<_> = all[..2].iter().map(|address| (IpAddr::V4(*address), GROUP_TTL_S)).collect();
    assert_eq!(read.addresses, expected);
    // As many as fit.
    let many = addresses(&asked, &question, &all, 512);
    assert!(many.len() <= 512 && Answer::parse(&many).unwrap().addresses.len() > 25);
    // No other records.
    let asked = query(8, "db", TYPE_AAAA, Some(4096));
    let empty = addresses(&asked, &Question::parse(&asked).unwrap(), &all, 512);
    assert!(Answer::parse(&empty).unwrap().addresses.is_empty());
    assert_eq!(word(&empty, 2).unwrap() & 0xf, 0);
}
