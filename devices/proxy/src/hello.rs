//! What a TLS client says first, as far as it tells whom it wants (RFC 8446 §4.1.2 and §5.1; RFC 6066 §3).
//!
//! The bytes are hostile, and the server that reads them may be lenient. Bytes that start like a TLS record must therefore be a
//! well-formed ClientHello. Anything else that starts like one is [`Hello::Malformed`], because some servers skip a record that
//! they do not expect and answer the hello behind it.

/// The most bytes that are looked at: the longest record. A hello that is not whole by then is malformed.
pub const MAX_HELLO_BYTES: usize = RECORD_HEADER_BYTES + MAX_FRAGMENT_BYTES;

const RECORD_HEADER_BYTES: usize = 5;
const MAX_FRAGMENT_BYTES: usize = 1 << 14;
/// The random value and the version before it.
const FIXED_BYTES: usize = 2 + 32;
/// Record types: change_cipher_spec, alert, handshake, application_data, and heartbeat (RFC 8446 §5.1, RFC 6520 §3).
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The major version of every TLS record.
const MAJOR: u8 = 3;
/// The highest major version that any server accepts in the first record of a handshake or alert (Go's crypto/tls).
const LAST_MAJOR: u8 = 0x0f;
/// The longest first alert of a major version other than [`MAJOR`] that counts as TLS: two alerts.
const MAX_ALERT_BYTES: u16 = 4;
const CLIENT_HELLO: u8 = 1;
/// The extension, and the only kind of name in it.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const MAX_NAME_BYTES: usize = 255;

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// It may be a hello; more bytes will tell.
    Incomplete,
    /// It is not TLS, or a hello without a name.
    Nameless,
    /// A hello for the server of this name: lower case, no dot at its end.
    Named(String),
    /// It starts like TLS and is not a well-formed ClientHello.
    Malformed,
}

impl Hello {
    /// What a connection begins with whose first bytes are `bytes`. Once it is not [`Hello::Incomplete`], more bytes do not
    /// change it.
    pub fn read(bytes: &[u8]) -> Self {
        let seen = bytes.get(..MAX_HELLO_BYTES).unwrap_or(bytes);
        match first_record(seen) {
            Self::Incomplete if seen.len() == MAX_HELLO_BYTES => Self::Malformed,
            hello => hello,
        }
    }
}

fn first_record(bytes: &[u8]) -> Hello {
    let Some(&kind) = bytes.first() else { return Hello::Incomplete };
    if !RECORD_TYPES.contains(&kind) {
        return Hello::Nameless;
    }
    match bytes.get(1) {
        None => Hello::Incomplete,
        Some(&MAJOR) if kind != HANDSHAKE => Hello::Malformed,
        Some(&MAJOR) => first_handshake(bytes, Hello::Malformed),
        Some(0..=LAST_MAJOR) if kind == HANDSHAKE => first_handshake(bytes, Hello::Nameless),
        Some(0..=LAST_MAJOR) if kind == ALERT => match bytes.get(3..RECORD_HEADER_BYTES) {
            Some(length) if length <= &MAX_ALERT_BYTES.to_be_bytes()[..] => Hello::Malformed,
            Some(_) => Hello::Nameless,
            None => Hello::Incomplete,
        },
        Some(_) => Hello::Nameless,
    }
}

/// Reads a first record of type handshake; `otherwise` is the answer when its first message is not a ClientHello.
fn first_handshake(bytes: &[u8], otherwise: Hello) -> Hello {
    match (bytes.get(3..RECORD_HEADER_BYTES), bytes.get(RECORD_HEADER_BYTES)) {
        (Some([0, 0]), _) => Hello::Malformed,
        (_, None) => Hello::Incomplete,
        (_, Some(&CLIENT_HELLO)) => message(bytes),
        _ => otherwise,
    }
}

/// The first message in `records`, which may be spread over several.
fn message(mut records: &[u8]) -> Hello {
    let mut message = Vec::new();
    loop {
        let Some((&[kind, _, _, high, low], rest)) = records.split_first_chunk() else {
            return Hello::Incomplete;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || length == 0 || length > MAX_FRAGMENT_BYTES {
            return Hello::Malformed;
        }
        message.extend_from_slice(rest.get(..length).unwrap_or(rest));
        if let Some((&[_, high, middle, low], rest)) = message.split_first_chunk() {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > MAX_HELLO_BYTES {
                return Hello::Malformed;
            }
            if let Some(body) = rest.get(..length) {
                return match name_in(body) {
                    Some(Some(name)) => Hello::Named(name),
                    Some(None) => Hello::Nameless,
                    None => Hello::Malformed,
                };
            }
        }
        let Some(next) = rest.get(length..) else { return Hello::Incomplete };
        records = next;
    }
}

/// The name in a hello's body, if it has one; nothing at all where it is no hello.
fn name_in(body: &[u8]) -> Option<Option<String>> {
    let session = body.get(FIXED_BYTES..)?;
    let (_, ciphers) = short_vector(session)?;
    let (_, compression) = vector(ciphers)?;
    let (_, rest) = short_vector(compression)?;
    if rest.is_empty() {
        return Some(None);
    }
    let mut extensions = whole(rest)?;
    let mut name = None;
    while !extensions.is_empty() {
        let (kind, rest) = word(extensions)?;
        let (data, rest) = vector(rest)?;
        // Of two, nobody knows which one the server takes.
        if kind == SERVER_NAME && name.replace(server_name(data)?).is_some() {
            return None;
        }
        extensions = rest;
    }
    Some(name)
}

/// The one name in a list of them.
fn server_name(data: &[u8]) -> Option<String> {
    let (kind, name) = whole(data)?.split_first()?;
    let name = whole(name).filter(|_| *kind == HOST_NAME)?;
    if name.len() > MAX_NAME_BYTES || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    (!name.is_empty()).then(|| name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*word), rest))
}

/// A vector whose length has 16 bits, and what follows it.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = word(bytes)?;
    rest.split_at_checked(length.into())
}

/// A vector whose length has 8 bits, and what follows it.
fn short_vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked((*length).into())
}

/// A vector that nothing follows.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    vector(bytes).filter(|(_, rest)| rest.is_empty()).map(|(inner, _)| inner)
}

#[cfg(test)]
pub(crate) mod tests;
