//! The values of secrets: read when a sandbox starts, kept in memory only, and never part of a record.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use monocore_protocol::{ByteString, MAX_SECRETS_BYTES, Secret};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::spec::{SecretSource, SecretSpec};

/// The environment variables that a sandbox's secrets come from. A supervisor gets them from whoever starts it, over a
/// socket: its own environment is the same for every sandbox, and is shown by `/proc`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretVariables(BTreeMap<String, Vec<u8>>);

impl SecretVariables {
    /// Those of this process's environment that `secrets` name.
    ///
    /// # Errors
    /// One is not set, or they are too long.
    pub(crate) fn of_this_process(secrets: &[SecretSpec]) -> Result<Self, Error> {
        Self::find(secrets, |name| std::env::var_os(name).map(|value| value.as_bytes().to_vec()))
    }

    fn find(secrets: &[SecretSpec], host: impl Fn(&OsStr) -> Option<Vec<u8>>) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        for secret in secrets {
            if let SecretSource::Env(variable) = &secret.source {
                let value = host(OsStr::new(variable)).ok_or_else(|| unset(secret, variable))?;
                found.insert(variable.clone(), value);
            }
        }
        match found.values().map(Vec::len).sum() {
            0..=MAX_SECRETS_BYTES => Ok(Self(found)),
            _ => Err(too_long()),
        }
    }
}

/// Shows the names only.
impl fmt::Debug for SecretVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The values of `secrets`, for the guest.
///
/// # Errors
/// A source is gone, or all values together are too long. The error names the secret and its source, not its value.
pub(crate) fn read(secrets: &[SecretSpec], variables: &SecretVariables) -> Result<Vec<Secret>, Error> {
    let mut total = 0;
    let mut values = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let value = match &secret.source {
            SecretSource::Env(variable) => {
                variables.0.get(variable).cloned().ok_or_else(|| unset(secret, variable))?
            }
            SecretSource::File(path) => read_file(path).map_err(|error| Error::Secret {
                name: secret.name.clone(),
                problem: format!("{}: {error}", path.display()),
            })?,
        };
        total += value.len();
        if total > MAX_SECRETS_BYTES {
            return Err(too_long());
        }
        values.push(Secret { name: secret.name.clone(), value: ByteString::from(value) });
    }
    Ok(values)
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut value = Vec::new();
    let most = u64::try_from(MAX_SECRETS_BYTES + 1).unwrap_or(u64::MAX);
    File::open(path)?.take(most).read_to_end(&mut value)?;
    Ok(value)
}

fn unset(secret: &SecretSpec, variable: &str) -> Error {
    let problem = format!("the environment variable {variable} is not set");
    Error::Secret { name: secret.name.clone(), problem }
}

fn too_long() -> Error {
    Error::Secrets(format!("secrets have at most {} KiB together", MAX_SECRETS_BYTES >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_secret;

    fn specs(texts: &[&str]) -> Vec<SecretSpec> {
        texts.iter().map(|text| parse_secret(text).unwrap()).collect()
    }

    #[test]
    fn values_come_from_their_sources_and_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, b"\0from a file\n").unwrap();
        let specs = specs(&["A", &format!("b,file={}", path.display())]);
        let variables =
            SecretVariables::find(&specs, |name| (name == "A").then(|| b"from-env".to_vec())).unwrap();
        let values = read(&specs, &variables).unwrap();
        assert_eq!(values[0].value.as_bytes(), b"from-env");
        assert_eq!(values[1].value.as_bytes(), b"\0from a file\n");
        assert!(!format!("{variables:?} {values:?}").contains("from"));
    }

    #[test]
    fn a_source_that_is_gone_is_named() {
        let env = specs(&["A,env=NOT_SET"]);
        let error = SecretVariables::find(&env, |_| None).unwrap_err().to_string();
        assert!(error.contains("secret A") && error.contains("NOT_SET"), "{error}");
        let file = specs(&["k,file=/no/such/file"]);
        let error = read(&file, &SecretVariables::default()).unwrap_err().to_string();
        assert!(error.contains("secret k") && error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn secrets_are_bounded() {
        let env = specs(&["A"]);
        let long = |_: &OsStr| Some(vec![0; MAX_SECRETS_BYTES + 1]);
        assert!(matches!(SecretVariables::find(&env, long), Err(Error::Secrets(_))));
        let endless = specs(&["z,file=/dev/zero"]);
        assert!(matches!(read(&endless, &SecretVariables::default()), Err(Error::Secrets(_))));
    }
}
