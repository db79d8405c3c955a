//! Sizes: `512m`, `8G`, `1.5g`, `1048576`.

use super::ParseError;

/// The least and the most RAM of a guest, MiB.
pub(super) const RAM_MIB: std::ops::RangeInclusive<u32> = 64..=1 << 20;
/// The smallest and largest scratch disk, bytes.
pub(super) const DISK_BYTES: std::ops::RangeInclusive<u64> = (64 << 20)..=(8 << 40);

/// A number of bytes, or with a unit (`b k m g t`, also `kb`, `KiB`, … — all powers of 1024), whole or decimal.
///
/// # Errors
/// Anything else, and sizes past 2^63.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    let problem = || ParseError::new(text, "give a size such as 512m or 8G (units b, k, m, g, t)");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(problem()),
    };
    scale(number, shift).ok_or_else(problem)
}

/// `number`, decimal, times 2^`shift`.
fn scale(number: &str, shift: u32) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    // Nine digits name a byte within a gibibyte; more would only overflow.
    let fraction = &fraction[..fraction.len().min(9)];
    let part = match fraction {
        "" => 0,
        digits => {
            let scale = 10u128.pow(u32::try_from(digits.len()).ok()?);
            u64::try_from((u128::from(digits.parse::<u64>().ok()?) << shift) / scale).ok()?
        }
    };
    whole.checked_add(part).filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// RAM in MiB. As in Docker a bare number is bytes; one too small for that is MiB, as in `ram = 512` of a project file.
///
/// # Errors
/// No size, or one outside 64 MiB to 1 TiB.
pub fn parse_ram_mib(text: &str) -> Result<u32, ParseError> {
    let bytes = parse_size(text)?;
    let bare = text.bytes().all(|b| b.is_ascii_digit());
    let mib = if bare && bytes < 1 << 20 { bytes } else { bytes.div_ceil(1 << 20) };
    // RAM is laid out in pages of 2 MiB.
    let mib = mib.next_multiple_of(2);
    match u32::try_from(mib) {
        Ok(mib) if RAM_MIB.contains(&mib) => Ok(mib),
        _ => Err(ParseError::new(text, format!("a guest's memory is {} MiB to 1 TiB", RAM_MIB.start()))),
    }
}

/// Size of a scratch disk in bytes, made a multiple of 4 KiB.
///
/// # Errors
/// No size, or one outside 64 MiB to 8 TiB.
pub fn parse_disk_size(text: &str) -> Result<u64, ParseError> {
    let bytes = parse_size(text)?;
    if DISK_BYTES.contains(&bytes) {
        Ok(bytes.next_multiple_of(4096))
    } else {
        Err(ParseError::new(text, "a root disk is 64 MiB to 8 TiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_every_spelling() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("64b", 64),
            ("1k", 1 << 10),
            ("512m", 512 << 20),
            ("512MB", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("8G", 8 << 30),
            ("2t", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "g", "-1", "1x", "1.2.3g", "9223372036854775808", "99999999999t", "0x10"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ram_is_bytes_or_mib() {
        for (text, mib) in [("512m", 512), ("1g", 1024), ("512", 512), ("536870912", 512), ("64.5m", 66)] {
            assert_eq!(parse_ram_mib(text), Ok(mib), "{text}");
        }
        for bad in ["62m", "0", "2t", "lots"] {
            assert!(parse_ram_mib(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn disks_have_bounds() {
        assert_eq!(parse_disk_size("100m"), Ok(100 << 20));
        assert_eq!(parse_disk_size("67108865"), Ok((64 << 20) + 4096));
        assert!(parse_disk_size("1m").is_err());
        assert!(parse_disk_size("9t").is_err());
    }
}
