//! Fields of a tar header, read as leniently as Go's `archive/tar` does.

use tar::Header;

/// The bytes before the first NUL.
pub(super) fn c_string(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number that is not negative: octal text, or binary when the first byte's high bit is set.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|number| u64::try_from(number).ok())
}

/// A number in either form, perhaps negative.
pub(super) fn signed(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        return binary(field);
    }
    let text = field.trim_ascii_start();
    let text = c_string(text).trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    i64::from_str_radix(text, 8).ok().filter(|number| *number >= 0)
}

/// Two's complement, big-endian, the top bit of the first byte being the mark.
fn binary(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let mut number = i128::from(first & 0x3f);
    if negative {
        number -= 0x40;
    }
    for byte in rest {
        number = number.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(number).ok()
}

/// Whether the header's checksum is right, counted with unsigned bytes or, as some did, with signed ones.
pub(super) fn checksum_matches(header: &Header) -> bool {
    let field = 148..156;
    let (mut plain, mut historic) = (0i64, 0i64);
    for (offset, byte) in header.as_bytes().iter().enumerate() {
        let byte = if field.contains(&offset) { b' ' } else { *byte };
        plain += i64::from(byte);
        historic += i64::from(byte.cast_signed());
    }
    signed(&header.as_old().cksum).is_some_and(|sum| sum == plain || sum == historic)
}

/// Major and minor device number.
pub(super) fn device(header: &Header) -> Option<(u64, u64)> {
    // Both fields lie at the same place in ustar and GNU headers; V7 has none.
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return None,
    };
    Some((unsigned(major)?, unsigned(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_dialect() {
        assert_eq!(unsigned(b"0000644\0"), Some(0o644));
        assert_eq!(unsigned(b"   644 \0"), Some(0o644));
        assert_eq!(unsigned(b"\0\0\0\0"), Some(0));
        assert_eq!(unsigned(b"12345678"), None);
        assert_eq!(unsigned(b"-1\0"), None);
        assert_eq!(unsigned(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(signed(&[0xff; 12]), Some(-1));
        assert_eq!(unsigned(&[0xff; 12]), None);
        assert_eq!(signed(&[0xbf; 12]), None, "more than 63 bits");
    }
}
