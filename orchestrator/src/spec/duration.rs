//! Durations: `30s`, `1m30s`, `500ms`, `2h`; a bare number is seconds.

use std::time::Duration;

use super::ParseError;

/// The longest duration taken: a hundred years.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// A duration: numbers with units (`ms`, `s`, `m`, `h`, `d`) in a row, or seconds.
///
/// # Errors
/// Anything else, and what is longer than a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    let problem = || ParseError::new(text, "give a duration such as 30s, 1m30s or 500ms");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(problem());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| problem())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis_per_unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "" if rest.is_empty() && total.is_zero() => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(problem()),
        };
        rest = &rest[letters..];
        let part = Duration::from_millis(number.checked_mul(millis_per_unit).ok_or_else(problem)?);
        total = total.checked_add(part).ok_or_else(problem)?;
    }
    if total.as_secs() > MAX_SECONDS { Err(problem()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_spelling() {
        for (text, millis) in
            [("30", 30_000), ("30s", 30_000), ("500ms", 500), ("1m30s", 90_000), ("2h", 7_200_000), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "1x", "1m30", "-1s", "1.5s", "99999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
