//! Identities of sandboxes and the names made up for them.

use std::io;

use crate::Error;

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brisk", "calm", "clear", "crisp", "deft", "eager", "fair", "fleet", "fresh", "gentle",
    "glad", "keen", "kind", "light", "lively", "lucid", "mellow", "neat", "nimble", "placid", "plain",
    "proud", "quick", "quiet", "sharp", "sly", "snug", "sunny", "swift", "warm",
];
const NOUNS: [&str; 32] = [
    "alder", "badger", "beech", "brook", "cedar", "comet", "crane", "delta", "ember", "falcon", "fern",
    "finch", "fjord", "grove", "harbor", "heron", "island", "lark", "lynx", "maple", "meadow", "otter",
    "pebble", "pine", "raven", "reef", "river", "sparrow", "spruce", "summit", "thistle", "willow",
];

/// A sandbox's identity: twelve hexadecimal digits, chosen at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SandboxId(String);

impl SandboxId {
    /// A new one, and a name such as `brisk-heron-3f` made of the same random bytes.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn generate() -> Result<(Self, String), Error> {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::file("read", "/dev/urandom")(io::Error::from(errno)))?;
        let [a, b, c, d, e, f, adjective, noun] = bytes;
        let id = format!("{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}");
        let name =
            format!("{}-{}-{f:02x}", ADJECTIVES[usize::from(adjective) % 32], NOUNS[usize::from(noun) % 32]);
        Ok((Self(id), name))
    }

    /// The identity that `text` writes out in full.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits && text.len() == 12).then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_names_are_valid() {
        let (id, name) = SandboxId::generate().unwrap();
        let (other, _) = SandboxId::generate().unwrap();
        assert_ne!(id, other);
        assert_eq!(SandboxId::parse(id.as_str()), Some(id));
        for other in ["", "0123456789a", "0123456789abc", "0123456789aG", "../456789abc"] {
            assert_eq!(SandboxId::parse(other), None, "{other}");
        }
        assert_eq!(crate::spec::parse_name(&name), Ok(name));
    }
}
