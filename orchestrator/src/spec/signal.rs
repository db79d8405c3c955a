//! Signals by name and number, as Linux numbers them.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ParseError;

/// Names and numbers (Linux on x86_64 and aarch64, signal(7)).
const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
/// The first and last real-time signal a C library leaves to programs.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(u8);

impl Signal {
    /// Asks a command to end.
    pub const TERM: Self = Self(15);
    /// Ends it.
    pub const KILL: Self = Self(9);

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `RTMAX-1`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = NAMES
            .iter()
            .find_map(|(known, number)| (*known == name).then_some(*number))
            .or_else(|| real_time(name))
            .or_else(|| text.parse().ok().filter(|n| (1..=RTMAX).contains(n)));
        number.map(Self).ok_or_else(|| ParseError::new(text, "give a signal such as SIGTERM, INT or 15"))
    }
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn real_time(name: &str) -> Option<u8> {
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        RTMIN.checked_add(offset)?
    } else {
        let rest = name.strip_prefix("RTMAX")?;
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
        RTMAX.checked_sub(offset)?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The display form of a real-time signal is for people; its number can be parsed again.
        match NAMES.iter().any(|(_, number)| *number == self.0) {
            true => serializer.collect_str(self),
            false => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_in_every_spelling() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
        for bad in ["", "0", "65", "SIGNOPE", "RTMIN+31", "RTMIN-1", "RTMAX-31", "SIG"] {
            assert!(Signal::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
    }
}
