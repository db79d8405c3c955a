//! `.env` and `env_file` as Compose reads them: quotes, comments, variables of earlier lines.

use std::collections::BTreeSet;
use std::path::Path;

use super::interpolate::{Dollars, Interpolation};

/// The largest file read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file of variables, in its order.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn read(
    path: &Path,
    outer: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let text = read_bounded(path).map_err(|error| format!("cannot be read: {error}"))?;
    parse(&text, outer)
}

/// A file's text, up to 1 MiB.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read as _};
    let mut text = Vec::new();
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    String::from_utf8(text).map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

/// The variables of a text, in its order. `outer` has the caller's.
pub(super) fn parse(
    text: &str,
    outer: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let problem = |problem: &str| format!("line {line}: {problem}");
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let start = first.trim_start();
        if start.trim_end().is_empty() || start.starts_with('#') {
            rest = after;
            continue;
        }
        let start = start.strip_prefix("export ").map_or(start, str::trim_start);
        let name_end = start.find(['=', '#']).unwrap_or(start.len());
        let name = start[..name_end].trim();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')) {
            return Err(problem("give NAME=VALUE"));
        }
        if !start[name_end..].starts_with('=') {
            variables.extend(outer(name).map(|value| (name.to_owned(), value)));
            rest = after;
            continue;
        }
        let value_at = first.len() - start.len() + name_end + 1;
        let (value, after) = value(&rest[value_at..]).map_err(problem)?;
        let value = match value {
            Written::Literal(value) => value,
            Written::Replaced(value) => {
                let lookup = |name: &str| {
                    let earlier = variables.iter().rev().find(|(other, _)| other == name);
                    outer(name).or_else(|| earlier.map(|(_, value)| value.clone()))
                };
                let mut interpolation =
                    Interpolation { lookup: &lookup, dollars: Dollars::Compose, unset: BTreeSet::new() };
                interpolation.text(&value).map_err(|error| problem(&String::from(error)))?
            }
        };
        variables.push((name.to_owned(), value));
        rest = after;
    }
    Ok(variables)
}

enum Written {
    Literal(String),
    Replaced(String),
}

/// The value at the beginning of `text`, and what follows its line.
fn value(text: &str) -> Result<(Written, &str), &'static str> {
    let trimmed = text.trim_start_matches([' ', '\t']);
    match trimmed.as_bytes().first() {
        Some(b'\'') => {
            let end = trimmed[1..].find('\'').ok_or("the quote is not closed")?;
            Ok((Written::Literal(trimmed[1..=end].to_owned()), after_quote(&trimmed[end + 2..])?))
        }
        Some(b'"') => {
            let (value, rest) = double_quoted(&trimmed[1..])?;
            Ok((Written::Replaced(value), after_quote(rest)?))
        }
        _ => {
            let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
            let comment = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
            let line = if line.trim_start().starts_with('#') { "" } else { &line[..comment] };
            Ok((Written::Replaced(line.trim().to_owned()), rest))
        }
    }
}

/// Up to the closing quote, escapes resolved.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                // Interpolation reads it as one dollar sign.
                Some('$') => value.push_str("$$"),
                Some(c @ ('"' | '\\')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the quote is not closed")
}

/// After a quoted value only a comment may follow.
fn after_quote(text: &str) -> Result<&str, &'static str> {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    match line.trim() {
        "" => Ok(rest),
        comment if comment.starts_with('#') => Ok(rest),
        _ => Err("text after the closing quote"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        parse(text, &|name| (name == "HOME").then(|| "/root".to_owned()))
    }

    #[test]
    fn values_in_every_spelling() {
        let text = "# c\n\nA=1\n  export B = two words # c\r\nC='$A # x'\nD=\"q\\n$A\" # c\nE=\nF=a#b\nHOME\nNOPE\n\
                    G=\"two\nlines\"\nH=${A}-${X:-d}\nI=\"\\$A\"\nJ=#x";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A # x"),
            ("D", "q\n1"),
            ("E", ""),
            ("F", "a#b"),
            ("HOME", "/root"),
            ("G", "two\nlines"),
            ("H", "1-d"),
            ("I", "$A"),
            ("J", ""),
        ];
        let expected: Vec<_> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(parsed(text), Ok(expected));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line) in
            [("A=1\n=2", 2), ("A='x", 1), ("\n\nA=\"x", 3), ("A='x' y", 1), ("a b=1", 1), ("A=${", 1)]
        {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(&format!("line {line}: ")), "{text}: {error}");
        }
    }
}
