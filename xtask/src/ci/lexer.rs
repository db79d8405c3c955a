//! Just enough of Rust's lexical structure to tell code from comments and literals.

/// `source` with every comment and the content of every string and character literal blanked out. Lines stay where
/// they are.
pub(super) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skipped(&bytes[at..], out.last().copied());
        if end == at {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the comment or literal at the start of `rest`, 0 if there is none.
fn skipped(rest: &[u8], before: Option<u8>) -> usize {
    if rest.starts_with(b"//") {
        return rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment(rest);
    }
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return 0;
    }
    match rest {
        [b'"', ..] => string(rest, 1),
        [b'b' | b'c', b'"', ..] => string(rest, 2),
        [b'r', b'"' | b'#', ..] => raw_string(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] => raw_string(rest, 2),
        [b'\'', b'\\', ..] => {
            rest[2..].iter().skip(1).position(|&byte| byte == b'\'').map_or(0, |end| end + 4)
        }
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(rest: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string, or 0 for a raw identifier.
fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let start = prefix + hashes + 1;
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let found = rest[start..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |found| start + found + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish() {
        assert_eq!(code_only("a // unsafe\nb"), "a          \nb");
        assert_eq!(code_only("a /* x /* y */ z */ b"), "a                   b");
        assert_eq!(code_only(r#"f("unsafe \" x", 'u')"#).trim_end(), r#"f(             ,    )"#.trim_end());
        assert_eq!(code_only("r#\"unsafe\"# x").trim(), "x");
        assert_eq!(
            code_only("r#type b\"u\" '\\n' c").split_whitespace().collect::<Vec<_>>(),
            ["r#type", "c"]
        );
    }

    #[test]
    fn lifetimes_stay() {
        assert_eq!(code_only("&'a str, 'x', '\\''"), "&'a str,    ,     ");
    }
}
