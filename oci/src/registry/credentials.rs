//! Credentials where Docker keeps them: `config.json` and credential helpers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{Error, Result};

/// What Docker Hub's credentials are kept under.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer of a helper in bytes.
const HELPER_BYTES: u64 = 1 << 20;

/// Who we are to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// To be exchanged for tokens.
    IdentityToken(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// Docker's `config.json`, as far as it is about credentials.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The user's credentials for a registry, if there are any.
pub(super) async fn lookup(registry: &str) -> Result<Option<Credentials>> {
    let Some(path) = config_path() else { return Ok(None) };
    let bad = |reason: String| Error::Credentials { registry: registry.to_owned(), reason };
    let config = match tokio::fs::read(&path).await {
        Ok(raw) => Config::parse(&raw).map_err(|error| bad(format!("{}: {error}", path.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(format!("{}: {error}", path.display()))),
    };
    if let Some(helper) = config.helper(registry)
        && let Some(credentials) = ask_helper(helper, key_of(registry)).await.map_err(bad)?
    {
        return Ok(Some(credentials));
    }
    config.entry(registry).map_err(|reason| bad(reason.to_owned()))
}

/// What a registry's credentials are kept under.
fn key_of(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB } else { registry }
}

impl Config {
    pub(super) fn parse(raw: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(raw)
    }

    /// The helper that keeps a registry's credentials.
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.get(key_of(registry)).or_else(|| self.cred_helpers.get(registry));
        own.or(self.creds_store.as_ref()).map(String::as_str)
    }

    /// A registry's credentials that stand in the file itself.
    pub(super) fn entry(&self, registry: &str) -> std::result::Result<Option<Credentials>, &'static str> {
        let key = key_of(registry);
        let entry = self.auths.get(key).or_else(|| {
            let same = |(name, _): &(&String, &Entry)| [host_of(key), registry].contains(&host_of(name));
            self.auths.iter().find(same).map(|(_, entry)| entry)
        });
        entry.map_or(Ok(None), Entry::credentials)
    }
}

impl Entry {
    fn credentials(&self) -> std::result::Result<Option<Credentials>, &'static str> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials::IdentityToken(token.clone())));
        }
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let plain = STANDARD.decode(auth).ok().and_then(|plain| String::from_utf8(plain).ok());
            let plain = plain.ok_or("the entry in Docker's config.json is not base64")?;
            let (user, password) =
                plain.split_once(':').ok_or("the entry in Docker's config.json has no password")?;
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }));
        }
        Ok(match (&self.username, &self.password) {
            (Some(user), Some(password)) => {
                Some(Credentials::Password { user: user.clone(), password: password.clone() })
            }
            _ => None,
        })
    }
}

/// Host and port of an entry's name, which older clients wrote as an address.
fn host_of(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    name.split('/').next().unwrap_or_default()
}

fn config_path() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| Some(std::env::home_dir()?.join(".docker")));
    Some(folder?.join("config.json"))
}

/// Runs `docker-credential-<helper> get` (docker-credential-helpers, "Usage").
async fn ask_helper(helper: &str, key: &str) -> std::result::Result<Option<Credentials>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    if helper.is_empty() || helper.contains('/') {
        return Err(format!("{helper:?} is no credential helper's name"));
    }
    let program = format!("docker-credential-{helper}");
    let run = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(key.as_bytes()).await {
                // It answers without reading what it is asked for.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                outcome => outcome?,
            }
        }
        let mut raw = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(HELPER_BYTES).read_to_end(&mut raw).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, raw))
    };
    let (status, raw) = tokio::time::timeout(HELPER_TIMEOUT, run)
        .await
        .map_err(|_| format!("{program} does not answer"))?
        .map_err(|error| format!("{program}: {error}"))?;
    if !status.success() {
        // Helpers say so on standard output when they simply have none.
        let none = String::from_utf8_lossy(&raw).contains("credentials not found");
        return if none { Ok(None) } else { Err(format!("{program} failed with {status}")) };
    }
    let answer: Answer = serde_json::from_slice(&raw).map_err(|error| format!("{program}: {error}"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_all_ages_are_read() {
        let raw = r#"{"auths":{"https://reg.example/v2/":{"auth":"dTpwOnE="},"other":{"identitytoken":"t"},"empty":{}}}"#;
        let config: Config = serde_json::from_str(raw).unwrap();
        let password = Credentials::Password { user: "u".into(), password: "p:q".into() };
        assert!(config.auths["https://reg.example/v2/"].credentials() == Ok(Some(password)));
        assert!(config.auths["other"].credentials() == Ok(Some(Credentials::IdentityToken("t".into()))));
        assert!(config.auths["empty"].credentials() == Ok(None));
        assert_eq!(host_of("https://reg.example/v2/"), "reg.example");
        assert_eq!(host_of("localhost:5000"), "localhost:5000");
    }

    #[test]
    fn dockers_own_registry_has_two_names() {
        for name in [DOCKER_HUB, "index.docker.io", "docker.io"] {
            let config = Config::parse(format!(r#"{{"auths":{{"{name}":{{"auth":"dTpw"}}}}}}"#).as_bytes());
            assert!(config.unwrap().entry("docker.io").unwrap().is_some(), "{name}");
        }
    }
}
