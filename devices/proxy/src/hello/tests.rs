use proptest::prelude::*;

use super::*;

fn vector_of(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector_of(data)].concat()
}

fn name_extension(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &vector_of(&[&[HOST_NAME][..], &vector_of(name)].concat()))
}

/// A hello with `extensions`, as a message of the handshake.
fn message_with(extensions: &[u8]) -> Vec<u8> {
    let random = [7; 32];
    let ciphers = [0x13, 1, 0x13, 2];
    let body =
        [&[3, 3][..], &random, &[4, 9, 9, 9, 9], &vector_of(&ciphers), &[1, 0], &vector_of(extensions)]
            .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO][..], &length[1..], &body].concat()
}

/// `message` in records of at most `most` bytes each.
fn records(message: &[u8], most: usize) -> Vec<u8> {
    message
        .chunks(most)
        .flat_map(|fragment| [&[HANDSHAKE, 3, 1][..], &vector_of(fragment)].concat())
        .collect()
}

/// A hello for `name` between other extensions.
pub(crate) fn hello_for(name: &str) -> Vec<u8> {
    let versions = extension(43, &[2, 3, 4]);
    let extensions = [&versions[..], &name_extension(name.as_bytes()), &extension(21, &[0; 40])].concat();
    records(&message_with(&extensions), MAX_FRAGMENT_BYTES)
}

fn named(name: &str) -> Hello {
    Hello::Named(name.into())
}

/// What `extensions` are read as.
fn read_with(extensions: &[u8]) -> Hello {
    Hello::read(&records(&message_with(extensions), MAX_FRAGMENT_BYTES))
}

#[test]
fn a_name_is_read_however_it_is_spelled() {
    assert_eq!(Hello::read(&hello_for("Example.ORG")), named("example.org"));
    assert_eq!(Hello::read(&hello_for("example.org.")), named("example.org"));
    assert_eq!(Hello::read(&hello_for("10.0.0.1")), named("10.0.0.1"));
    // What follows is not looked at, and versions are only believed as far as they must be.
    let mut longer = [hello_for("a.b"), vec![0xff; 20_000]].concat();
    assert_eq!(Hello::read(&longer), named("a.b"));
    (longer[1], longer[2]) = (5, 9);
    assert_eq!(Hello::read(&longer), named("a.b"));
}

#[test]
fn a_real_one_is_read() {
    // From `openssl s_client -servername Real.Example.org`, version 3.0.
    assert_eq!(Hello::read(include_bytes!("openssl.bin")), named("real.example.org"));
}

#[test]
fn nothing_is_known_before_the_last_byte() {
    let whole = hello_for("example.org");
    for length in 0..whole.len() {
        assert_eq!(Hello::read(&whole[..length]), Hello::Incomplete, "{length}");
    }
    assert_eq!(Hello::read(&whole), named("example.org"));
}

#[test]
fn other_protocols_are_let_be_at_once() {
    let query = [0, 29, 9, 9, 1, 0, 0, 1];
    let mysql = [22, 0, 0, 1, 0x85, 0xa6, 0xff, 1];
    // Lengths in little-endian order: a MySQL login of 277 bytes and a MongoDB message of 276.
    let mysql_login = [21, 1, 0, 1, 0x85, 0xa6, 0xff, 1];
    let mongodb = [20, 1, 0, 0, 1, 0, 0, 0, 0];
    for bytes in [
        &b"G"[..],
        b"SSH-2.0-",
        b"\x10\x00",
        b"\x80\x2e\x01\x03\x01",
        &query,
        &mysql,
        &mysql_login,
        &mongodb,
        &[25],
        &[22, 16],
    ] {
        assert_eq!(Hello::read(bytes), Hello::Nameless, "{bytes:?}");
    }
    assert_eq!(read_with(&extension(43, &[2, 3, 4])), Hello::Nameless);
    let mut without_extensions = message_with(&[]);
    without_extensions.truncate(without_extensions.len() - 2);
    without_extensions[3] -= 2;
    assert_eq!(Hello::read(&records(&without_extensions, 100)), Hello::Nameless);
}

#[test]
fn names_that_can_be_read_in_two_ways_are_none() {
    let two = [name_extension(b"a.b"), name_extension(b"c.d")].concat();
    let entry = |name: &[u8]| [&[HOST_NAME][..], &vector_of(name)].concat();
    let two_in_one = extension(SERVER_NAME, &vector_of(&[entry(b"a.b"), entry(b"c.d")].concat()));
    let other_kind = extension(SERVER_NAME, &vector_of(&[1, 0, 1, b'a']));
    let tail = extension(SERVER_NAME, &[&vector_of(&entry(b"a.b"))[..], &[0]].concat());
    let short = extension(SERVER_NAME, &vector_of(&entry(b"a.b"))[..7]);
    for extensions in [two, two_in_one, other_kind, tail, short, extension(SERVER_NAME, &[]), vec![0, 0, 0]] {
        assert_eq!(read_with(&extensions), Hello::Malformed, "{extensions:?}");
    }
    for name in [&b""[..], b".", b"a\0.b", b"a b", b"\xc3\xa4.de", &[b'a'; 256]] {
        assert_eq!(read_with(&name_extension(name)), Hello::Malformed, "{name:?}");
    }
}

#[test]
fn what_lenient_servers_skip_hides_no_hello() {
    let hello = hello_for("example.org");
    for before in [
        // Alerts: a warning, levels 0 and 3, two in one record, none, of other versions.
        &[21, 3, 1, 0, 2, 1, 90][..],
        &[21, 3, 1, 0, 2, 0, 90],
        &[21, 3, 1, 0, 2, 3, 90],
        &[21, 3, 1, 0, 4, 1, 90, 1, 90],
        &[21, 3, 1, 0, 0],
        &[21, 3, 3, 0, 9, 1, 90, 0, 0, 0, 0, 0, 0, 0],
        &[21, 2, 0, 0, 2, 1, 90],
        &[21, 15, 0, 0, 0],
        // Changes of ciphers: one, two, none.
        &[20, 3, 3, 0, 1, 1],
        &[20, 3, 1, 0, 2, 1, 1],
        &[20, 3, 1, 0, 0],
        // Handshake records: an empty one, a HelloRequest, a ServerHello.
        &[22, 3, 1, 0, 0],
        &[22, 7, 1, 0, 0],
        &[22, 3, 1, 0, 4, 0, 0, 0, 0],
        &[22, 3, 3, 0, 42, 2, 0, 0, 38],
        // Data and a heartbeat.
        &[23, 3, 1, 0, 0],
        &[24, 3, 1, 0, 3, 1, 0, 0],
    ] {
        let bytes = [before, &hello].concat();
        assert_eq!(Hello::read(&bytes), Hello::Malformed, "{before:?}");
        let verdicts = (0..bytes.len()).map(|length| Hello::read(&bytes[..length]));
        assert!(verdicts.into_iter().all(|verdict| matches!(verdict, Hello::Incomplete | Hello::Malformed)));
    }
    // Between the parts of a hello either.
    let parts = records(&message_with(&name_extension(b"example.org")), 60);
    assert_eq!(Hello::read(&parts), named("example.org"));
    for between in [&[22, 3, 1, 0, 0][..], &[21, 3, 1, 0, 2, 1, 0], &[23, 3, 3, 0, 1, 1]] {
        assert_eq!(Hello::read(&[&parts[..65], between, &parts[65..]].concat()), Hello::Malformed);
    }
}

#[test]
fn there_is_an_end_to_waiting() {
    let padding = extension(21, &vec![0; MAX_FRAGMENT_BYTES - 200]);
    let message = message_with(&[padding, name_extension(b"a.b")].concat());
    assert_eq!(Hello::read(&records(&message, MAX_FRAGMENT_BYTES)), named("a.b"));
    let long = records(&message, 100);
    assert_eq!(Hello::read(&long[..MAX_HELLO_BYTES - 1]), Hello::Incomplete);
    assert_eq!(Hello::read(&long[..MAX_HELLO_BYTES]), Hello::Malformed);
    assert_eq!(Hello::read(&long), Hello::Malformed);
    assert_eq!(Hello::read(&[22, 3, 1, 0, 200, 1, 1, 0, 0]), Hello::Malformed);
}

proptest! {
    #[test]
    fn a_hello_in_any_records_is_the_same(name in "[a-z0-9.-]{1,80}[a-z]", most in 1usize..300, others in prop::collection::vec((1u16..100, prop::collection::vec(any::<u8>(), 0..50)), 0..8), at in any::<prop::sample::Index>()) {
        let mut extensions: Vec<_> = others.iter().map(|(kind, data)| extension(*kind, data)).collect();
        extensions.insert(at.index(extensions.len() + 1), name_extension(name.as_bytes()));
        let bytes = records(&message_with(&extensions.concat()), most);
        prop_assert_eq!(Hello::read(&bytes), named(&name));
        prop_assert_eq!(Hello::read(&bytes[..at.index(bytes.len())]), Hello::Incomplete);
    }

    /// Whatever is read, more bytes do not change it; and a hello with bytes changed is never taken for something else
    /// than TLS because of what lies behind its first record's header.
    #[test]
    fn a_verdict_stands(noise in prop::collection::vec(any::<u8>(), 0..200), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>()) {
        let mut hello = hello_for("example.org");
        for (at, byte) in changes {
            let at = at.index(hello.len());
            hello[at] = byte;
        }
        for bytes in [noise, hello] {
            let early = Hello::read(&bytes[..cut.index(bytes.len() + 1)]);
            if early != Hello::Incomplete {
                prop_assert_eq!(early, Hello::read(&bytes));
            }
        }
    }
}
