//! Environment variables, from flags and from files.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ParseError, serial};

/// The largest environment file read, bytes: more than a command line can carry.
const MAX_FILE: u64 = 1 << 20;

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// Without `=`.
    #[serde(with = "serial::text")]
    pub name: OsString,
    /// Any bytes but NUL.
    #[serde(with = "serial::text")]
    pub value: OsString,
}

/// `NAME=VALUE`; or `NAME` alone, which takes the value `host` has for it and is nothing when it has none.
///
/// # Errors
/// An empty name.
pub fn parse_env(
    text: &OsStr,
    host: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Option<EnvVar>, ParseError> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|b| *b == b'=') {
        Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
        None => (bytes, None),
    };
    if name.is_empty() {
        return Err(ParseError::new(
            &text.to_string_lossy(),
            "give NAME=VALUE, or NAME to pass the caller's value",
        ));
    }
    let name = OsString::from_vec(name.to_vec());
    Ok(value.or_else(|| host(&name)).map(|value| EnvVar { name, value }))
}

/// Reads a file of [`parse_env`] lines; blank lines and those beginning with `#` count for nothing. Values are taken as
/// they stand: no quotes, no escapes, as Docker does it.
///
/// # Errors
/// The file cannot be read, is larger than 1 MiB, or has a line without a name.
pub fn read_env_file(
    path: &Path,
    host: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Vec<EnvVar>, ParseError> {
    let problem = |what: String| ParseError::new(&path.to_string_lossy(), what);
    let content = read_bounded(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let mut variables = Vec::new();
    for (index, line) in content.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let variable = parse_env(OsStr::from_bytes(line), &host)
            .map_err(|error| problem(format!("line {}: {error}", index + 1)))?;
        variables.extend(variable);
    }
    Ok(variables)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &OsStr) -> Option<OsString> {
        (name == "HOME").then(|| "/root".into())
    }

    fn var(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_bare_name_takes_the_callers_value() {
        assert_eq!(parse_env(OsStr::new("A=b=c"), host), Ok(Some(var("A", "b=c"))));
        assert_eq!(parse_env(OsStr::new("A="), host), Ok(Some(var("A", ""))));
        assert_eq!(parse_env(OsStr::new("HOME"), host), Ok(Some(var("HOME", "/root"))));
        assert_eq!(parse_env(OsStr::new("NOPE"), host), Ok(None));
        assert!(parse_env(OsStr::new("=x"), host).is_err());
    }

    #[test]
    fn files_keep_values_as_they_stand() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# comment\n\nA=1\r\n  B=\"q\" # no comment\nHOME\nNOPE\n").unwrap();
        let read = read_env_file(file.path(), host).unwrap();
        assert_eq!(read, [var("A", "1"), var("B", "\"q\" # no comment"), var("HOME", "/root")]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=1\n=2\n").unwrap();
        let error = read_env_file(file.path(), host).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(read_env_file(Path::new("/nonexistent/env"), host).is_err());
    }
}
