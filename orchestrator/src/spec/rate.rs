//! Rates: `10MB/s`, `80mbit`, `1.5GiB/s,4m`.

use monocore_spec::NetRate;

use super::{ParseError, parse_size};

/// A burst that nobody speaks of is this part of what goes in a second.
const BURST_PARTS: u64 = 10;
/// It is no smaller than the longest frame, bytes.
const LEAST_BURST_BYTES: u64 = 64 << 10;

/// `RATE[,BURST]`. A rate is a number, whole or decimal, of `B`, `kB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB`, `GiB` (powers
/// of 1024), or `bit`, `kbit`, `Mbit`, `Gbit` (powers of 1000) a second; `/s` behind them may be left out, case does not matter. A
/// burst is a size ([`parse_size`]).
///
/// # Errors
/// Anything else; `10M`, since nobody knows of what, and `10Mbps`, which is bits for some and bytes for others.
pub fn parse_rate(text: &str) -> Result<NetRate, ParseError> {
    let problem = || {
        ParseError::new(text, "say how much a second, 10MB/s, 10MiB/s or 80Mbit/s, then ,BURST if you like")
    };
    let (rate, burst) = text.split_once(',').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let bytes_per_second = bytes_per_second(rate).filter(|rate| *rate > 0).ok_or_else(problem)?;
    let burst_bytes = match burst {
        Some(burst) => parse_size(burst)?,
        None => LEAST_BURST_BYTES.max(bytes_per_second / BURST_PARTS),
    };
    if burst_bytes == 0 {
        return Err(ParseError::new(text, "a burst of nothing lets nothing through"));
    }
    Ok(NetRate { bytes_per_second, burst_bytes })
}

fn bytes_per_second(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    // What one of the unit is, in eighths of a byte.
    let bits: u64 = match unit.strip_suffix("/s").unwrap_or(&unit) {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        "b" => 8,
        "kb" => 8_000,
        "mb" => 8_000_000,
        "gb" => 8_000_000_000,
        "kib" => 8 << 10,
        "mib" => 8 << 20,
        "gib" => 8 << 30,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // More digits than these name less than a bit.
    let fraction = fraction.get(..fraction.len().min(9))?;
    let scale = 10u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = fraction.parse::<u64>().ok()?.checked_mul(bits)? / scale;
    Some(whole.parse::<u64>().ok()?.checked_mul(bits)?.checked_add(part)? / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_in_every_spelling() {
        for (text, bytes_per_second, burst_bytes) in [
            ("10MB/s", 10_000_000, 1_000_000),
            ("10MiB/s", 10 << 20, 1 << 20),
            ("80Mbit/s", 10_000_000, 1_000_000),
            ("80mbit", 10_000_000, 1_000_000),
            ("1.5kB/s", 1500, 64 << 10),
            ("0.5GiB", 512 << 20, (512 << 20) / 10),
            ("9b", 9, 64 << 10),
            ("8bit/s,1", 1, 1),
            ("1Gbit/s,4m", 125_000_000, 4 << 20),
        ] {
            assert_eq!(parse_rate(text), Ok(NetRate { bytes_per_second, burst_bytes }), "{text}");
        }
    }

    #[test]
    fn a_rate_says_of_what() {
        let bad = [
            "", "10", "10M", "10Mbps", "10MB/m", "MB/s", "0MB/s", "7bit", "-1MB/s", "1..5MB", "1e3MB",
            "10MB/s,", "10MB/s,0",
        ];
        for text in bad.into_iter().chain(["99999999999999999999GB/s", "18446744073709551615GB", "1MB/s,1,1"])
        {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
