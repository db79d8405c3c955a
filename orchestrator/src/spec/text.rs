//! The small texts: names, labels, CPU counts, host entries; and the error all parsers share.

use std::net::IpAddr;

use monocore_spec::LinkSpec;

use super::HostEntry;

/// The most vCPUs a sandbox may have.
pub const MAX_VCPUS: u8 = 64;
/// The longest name of a sandbox or volume, bytes.
const MAX_NAME: usize = 128;

/// A text that does not say what it should; the message quotes it and shows what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{input:?}: {problem}")]
pub struct ParseError {
    input: String,
    problem: String,
}

impl ParseError {
    pub(crate) fn new(input: &str, problem: impl Into<String>) -> Self {
        Self { input: input.to_owned(), problem: problem.into() }
    }

    /// What is wrong, without the text.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// A name of a sandbox or volume: a letter or digit, then letters, digits, `_`, `.`, `-`; at most 128 bytes.
///
/// # Errors
/// Any other text.
pub fn parse_name(text: &str) -> Result<String, ParseError> {
    let mut bytes = text.bytes();
    let valid = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && text.len() <= MAX_NAME;
    if valid {
        Ok(text.to_owned())
    } else {
        Err(ParseError::new(
            text,
            "a name begins with a letter or digit, goes on with letters, digits, '_', '.', '-', and has at most 128 of them",
        ))
    }
}

/// `key=value` or `key`.
///
/// # Errors
/// An empty key.
pub fn parse_label(text: &str) -> Result<(String, String), ParseError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(ParseError::new(text, "a label is KEY=VALUE or KEY"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Processors of a machine, and how much of their time the commands may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// 1 to 64.
    pub vcpus: u8,
    /// Time of all processors together, thousandths of one; all of it when there is none.
    pub limit_millis: Option<u32>,
}

/// `2`, or Docker's fractions: `1.5` gives two vCPUs, of whose time the commands may use one and a half.
///
/// # Errors
/// No number, none above zero, or more than 64.
pub fn parse_cpu_limit(text: &str) -> Result<Cpus, ParseError> {
    let problem = || ParseError::new(text, format!("give a number of CPUs above 0 and up to {MAX_VCPUS}"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(problem());
    }
    let whole: u8 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| problem())? };
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let millis = digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    let is_whole = fraction.bytes().all(|b| b == b'0');
    match whole.checked_add(u8::from(!is_whole)) {
        Some(vcpus @ 1..=MAX_VCPUS) => {
            // The kernel takes no less than a hundredth.
            let limit = (u32::from(whole) * 1000 + millis).max(10);
            Ok(Cpus { vcpus, limit_millis: (!is_whole).then_some(limit) })
        }
        _ => Err(problem()),
    }
}

/// The vCPUs of [`parse_cpu_limit`]: fractions round up.
///
/// # Errors
/// As there.
pub fn parse_cpus(text: &str) -> Result<u8, ParseError> {
    parse_cpu_limit(text).map(|cpus| cpus.vcpus)
}

/// `name:address` or `name=address`; an IPv6 address may stand in brackets, and `host-gateway` is the address at which
/// this machine is reached, if a rule allows it.
///
/// # Errors
/// No name, or no address.
pub fn parse_host_entry(text: &str) -> Result<HostEntry, ParseError> {
    let problem = || ParseError::new(text, "give NAME:ADDRESS, the address numeric or host-gateway");
    let (name, address) = text.split_once([':', '=']).ok_or_else(problem)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = match address {
        "host-gateway" => LinkSpec::default().gateway_v4.into(),
        address => address.parse().map_err(|_| problem())?,
    };
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '#') {
        return Err(problem());
    }
    Ok(HostEntry { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_cpu_is_a_limit() {
        let limit = |text| parse_cpu_limit(text).map(|cpus| (cpus.vcpus, cpus.limit_millis));
        assert_eq!(limit("2"), Ok((2, None)));
        assert_eq!(limit("2.0"), Ok((2, None)));
        assert_eq!(limit("0.5"), Ok((1, Some(500))));
        assert_eq!(limit("1.2345"), Ok((2, Some(1234))));
        assert_eq!(limit(".0001"), Ok((1, Some(10))));
    }

    #[test]
    fn names_are_those_docker_takes() {
        for good in ["a", "web-1", "x_y.z", "0"] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", ".hidden", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_round_up() {
        for (text, cpus) in [("1", 1), ("0.5", 1), (".5", 1), ("1.5", 2), ("2.0", 2), ("64", 64)] {
            assert_eq!(parse_cpus(text), Ok(cpus), "{text}");
        }
        for bad in ["", "0", "0.0", ".", "-1", "65", "64.1", "two", "1.x"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_entries_take_both_families() {
        assert_eq!(parse_host_entry("db:10.0.0.1").map(|h| h.address.to_string()).as_deref(), Ok("10.0.0.1"));
        assert_eq!(parse_host_entry("db:::1").map(|h| h.address.to_string()).as_deref(), Ok("::1"));
        assert_eq!(parse_host_entry("db=[fe80::1]").map(|h| h.name).as_deref(), Ok("db"));
        for bad in ["db", ":1.2.3.4", "db:host", "a b:1.2.3.4"] {
            assert!(parse_host_entry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_quote_what_was_written() {
        assert!(parse_label("=x").is_err_and(|e| e.to_string().starts_with("\"=x\": ")));
    }
}
