//! Secrets: `NAME[,env=VARIABLE|file=PATH]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// The longest name, bytes: Linux's for a file.
const MAX_NAME_BYTES: usize = 255;

/// A file of the guest's `/run/secrets`. The value is not part of the description: it is read at each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// The file's name.
    pub name: String,
    /// Where the value comes from.
    pub source: SecretSource,
}

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// An environment variable of whoever starts the sandbox.
    Env(String),
    /// A file of the host.
    File(PathBuf),
}

/// `NAME`, whose value is the environment variable of that name; `NAME,env=VARIABLE`; or `NAME,file=PATH`. As in
/// `docker build`, `id=` may stand before the name, and `src=` or `source=` for `file=`.
///
/// # Errors
/// A name that is not one of a file, an unknown key, two sources.
pub fn parse_secret(text: &str) -> Result<SecretSpec, ParseError> {
    let problem = |what: &str| ParseError::new(text, what);
    let usage = "give NAME, NAME,env=VARIABLE or NAME,file=PATH";
    let mut words = text.split(',');
    let name = words.next().unwrap_or_default();
    let name = name.strip_prefix("id=").unwrap_or(name);
    if !is_file_name(name) {
        return Err(problem(
            "a secret's name is one of a file: without '/', not '.' or '..', at most 255 bytes",
        ));
    }
    let mut source = None;
    for word in words {
        let found = match word.split_once('=') {
            Some((_, "")) | None => return Err(problem(usage)),
            Some(("env", variable)) => SecretSource::Env(variable.to_owned()),
            Some(("file" | "src" | "source", path)) => SecretSource::File(path.into()),
            Some(_) => return Err(problem(usage)),
        };
        if source.replace(found).is_some() {
            return Err(problem("a secret has one source"));
        }
    }
    let source = source.unwrap_or_else(|| SecretSource::Env(name.to_owned()));
    Ok(SecretSpec { name: name.to_owned(), source })
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && !name.contains(|c: char| c == '/' || c == '=' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_variable_or_a_file() {
        let secret = |name: &str, source| Ok(SecretSpec { name: name.into(), source });
        assert_eq!(parse_secret("TOKEN"), secret("TOKEN", SecretSource::Env("TOKEN".into())));
        assert_eq!(parse_secret("db.key,env=DB"), secret("db.key", SecretSource::Env("DB".into())));
        assert_eq!(parse_secret("key,file=a/b"), secret("key", SecretSource::File("a/b".into())));
        assert_eq!(parse_secret("id=key,src=/k"), secret("key", SecretSource::File("/k".into())));
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", ".", "..", "a/b", "a=b", "a,env=", "a,env", "a,mode=1", "a,env=X,file=y", "a\nb"] {
            assert!(parse_secret(text).is_err(), "{text:?}");
        }
        assert!(parse_secret(&"n".repeat(256)).is_err());
    }
}
