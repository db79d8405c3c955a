//! PAX extended headers (POSIX.1-2008 `pax`, "pax Extended Header"): `length key=value\n` records.

use super::sparse::Segment;

/// Keywords that matter for a layer.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    /// Attributes by full name, the last value of each.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseKeys,
}

/// GNU's keywords for sparse files.
#[derive(Debug, Default)]
pub(super) struct SparseKeys {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` (0.x) or `GNU.sparse.realsize` (1.0).
    pub(super) size: Option<u64>,
    /// Formats 0.0 and 0.1.
    pub(super) segments: Vec<Segment>,
    /// An offset of format 0.0 still without its length.
    offset: Option<u64>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Reads a header; `None` if it is damaged.
    pub(super) fn parse(mut raw: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !raw.is_empty() {
            let blank = raw.iter().take(20).position(|byte| *byte == b' ')?;
            let len = usize::try_from(number(&raw[..blank])?).ok()?;
            let record = raw.get(blank + 1..len)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            pax.keyword(&record[..equals], &record[equals + 1..])?;
            raw = &raw[len..];
        }
        // The last value of a repeated name counts: sort stably, keep the later of equals.
        pax.xattrs.reverse();
        pax.xattrs.sort_by(|left, right| left.0.cmp(&right.0));
        pax.xattrs.dedup_by(|later, earlier| later.0 == earlier.0);
        Some(pax)
    }

    fn keyword(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = key.strip_prefix(XATTR) {
            if !name.is_empty() {
                self.xattrs.push((name.to_vec(), value.to_vec()));
            }
            return Some(());
        }
        // Where the header should speak, the keyword is empty.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let count = || if value.is_empty() { Some(None) } else { number(value).map(Some) };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = count()?,
            b"uid" => self.uid = count()?,
            b"gid" => self.gid = count()?,
            b"mtime" => self.mtime = if value.is_empty() { None } else { Some(time(value)?) },
            b"GNU.sparse.major" => self.sparse.major = count()?,
            b"GNU.sparse.minor" => self.sparse.minor = count()?,
            b"GNU.sparse.name" => self.sparse.name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = count()?,
            b"GNU.sparse.offset" => self.sparse.offset = Some(number(value)?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take()?;
                self.sparse.segments.push(Segment { offset, bytes: number(value)? });
            }
            b"GNU.sparse.map" => self.sparse.segments = map(value)?,
            _ => {}
        }
        Some(())
    }
}

/// `offset,length,offset,length…` of format 0.1.
fn map(value: &[u8]) -> Option<Vec<Segment>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let numbers = value.split(|byte| *byte == b',').map(number).collect::<Option<Vec<_>>>()?;
    let (pairs, []) = numbers.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|&[offset, bytes]| Segment { offset, bytes }).collect())
}

/// A decimal number of digits only.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction, perhaps negative, as seconds rounded down and nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = if whole.is_empty() { 0 } else { i64::try_from(number(whole)?).ok()? };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_repeated_keyword_counts() {
        let pax = Pax::parse(b"10 uid=70\n10 uid=71\n25 SCHILY.xattr.user.a=1\n25 SCHILY.xattr.user.a=2\n")
            .unwrap();
        assert_eq!(pax.uid, Some(71));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"2".to_vec())]);
    }

    #[test]
    fn damaged_records_are_refused() {
        for raw in [
            &b"5 a=b"[..],
            b"6 a=b\n\n",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
            b"6 path\n",
            b"-6 a=b\n",
            b"11 uid=-70\n",
            b"12 mtime=1x\n",
            b"24 GNU.sparse.map=1,2,3\n",
        ] {
            assert!(Pax::parse(raw).is_none(), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn times_round_down() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"9223372036854775808"), None);
    }
}
