//! The variables a command starts with.

use monocore_protocol::ByteString;

/// Docker's search path for images that name none.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `given`, and before it what is missing of PATH, HOSTNAME and, on a terminal, TERM; after it HOME.
pub(crate) fn complete(given: &[ByteString], hostname: &[u8], home: &[u8], terminal: bool) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::with_capacity(given.len() + 4);
    let mut default = |name: &[u8], value: &[u8]| {
        if value_of(given.iter().map(ByteString::as_bytes), name).is_none() {
            all.push([name, b"=", value].concat());
        }
    };
    default(b"PATH", DEFAULT_PATH);
    default(b"HOSTNAME", hostname);
    if terminal {
        default(b"TERM", b"xterm");
    }
    default(b"HOME", home);
    all.extend(given.iter().map(|entry| entry.as_bytes().to_vec()));
    all
}

/// The value of a variable.
pub(crate) fn value_of<'a>(mut entries: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_stands_and_what_is_missing_is_added() {
        let all = complete(&["PATH=/x".into(), "A=".into()], b"box", b"/root", true);
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        assert_eq!(all, [&b"HOSTNAME=box"[..], b"TERM=xterm", b"HOME=/root", b"PATH=/x", b"A="]);
    }

    #[test]
    fn a_longer_name_is_another_variable() {
        let all = complete(&["PATHS=/x".into()], b"box", b"/", false);
        assert_eq!(all[0], [b"PATH=", DEFAULT_PATH].concat());
    }
}
