//! Tokens: `server/tokens.json` in the state directory, with a hash of each.
//!
//! A token is `mc_ID_SECRET`; SECRET is 32 random bytes, so one round of SHA-256 suffices against
//! guessing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use monocore_orchestrator::Home;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, Scope};

const FILE: &str = "tokens.json";
const PREFIX: &str = "mc_";
/// The largest file read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A token as it is kept: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Eight hexadecimal digits.
    pub id: String,
    /// What it is for, in its owner's words.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// SHA-256 of the secret, hexadecimal.
    hash: String,
}

/// Makes a token; its text is given once and kept nowhere.
///
/// # Errors
/// The file cannot be read or written.
pub fn create(home: &Home, name: &str, scope: Scope) -> Result<(Token, String), Error> {
    make_dir(home)?;
    let _alone = lock(home)?;
    let mut tokens = list(home)?;
    let mut random = [0; 36];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::file("read", "/dev/urandom")(errno.into()))?;
    let id = hex(&random[..4]);
    let secret = URL_SAFE_NO_PAD.encode(&random[4..]);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let token = Token {
        id: id.clone(),
        name: name.to_owned(),
        scope,
        created_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        hash: hash(&secret),
    };
    tokens.push(token.clone());
    write(home, &tokens)?;
    Ok((token, format!("{PREFIX}{id}_{secret}")))
}

/// All tokens, oldest first.
///
/// # Errors
/// The file cannot be read.
pub fn list(home: &Home) -> Result<Vec<Token>, Error> {
    let path = path(home);
    let read = File::open(&path).and_then(|file| {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_FILE), &mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| Error::Tokens { path, problem: error.to_string() })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Removes the token with this ID.
///
/// # Errors
/// There is none, or the file cannot be written.
pub fn remove(home: &Home, id: &str) -> Result<(), Error> {
    make_dir(home)?;
    let _alone = lock(home)?;
    let mut tokens = list(home)?;
    let before = tokens.len();
    tokens.retain(|token| token.id != id);
    if tokens.len() == before {
        return Err(Error::NoToken(id.to_owned()));
    }
    write(home, &tokens)
}

/// The token that `text` is; nothing if it is not one of this server. Takes the same time whatever
/// the secret.
pub(crate) fn check<'a>(tokens: &'a [Token], text: &str) -> Option<&'a Token> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let given = hash(secret);
    // The ID is public, the secret's hash is compared in constant time.
    let token = tokens.iter().find(|token| token.id == id)?;
    bool::from(token.hash.as_bytes().ct_eq(given.as_bytes())).then_some(token)
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(home: &Home) -> PathBuf {
    home.server().join(FILE)
}

fn make_dir(home: &Home) -> Result<(), Error> {
    let dir = home.server();
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(Error::file("create", &dir))
}

fn lock(home: &Home) -> Result<File, Error> {
    let path = home.server().join(".tokens.lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    file.lock().map_err(Error::file("lock", &path))?;
    Ok(file)
}

/// Temporary file, fsync, rename: a reader finds the old tokens or the new ones.
fn write(home: &Home, tokens: &[Token]) -> Result<(), Error> {
    let path = path(home);
    let temporary = home.server().join(".tokens.new");
    let text = serde_json::to_vec_pretty(tokens)
        .map_err(|error| Error::Tokens { path: path.clone(), problem: error.to_string() })?;
    let mut options = OpenOptions::new();
    let written = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, &path));
    written.map_err(Error::file("write", &path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_only() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        assert_eq!(list(&home).unwrap(), []);
        let (token, text) = create(&home, "ci", Scope::Run).unwrap();
        let tokens = list(&home).unwrap();
        assert_eq!(tokens, std::slice::from_ref(&token));
        assert_eq!(check(&tokens, &text).map(|token| token.scope), Some(Scope::Run));
        let file = std::fs::read_to_string(path(&home)).unwrap();
        assert!(!file.contains(text.rsplit_once('_').unwrap().1), "the secret is not kept");
        assert_eq!(std::fs::metadata(path(&home)).unwrap().mode() & 0o777, 0o600);
        let mut wrong = text.clone();
        wrong.pop();
        for text in ["", "mc_", &wrong, &format!("mc_{}_", token.id), &text[3..]] {
            assert_eq!(check(&tokens, text), None, "{text}");
        }
        remove(&home, &token.id).unwrap();
        assert!(matches!(remove(&home, &token.id), Err(Error::NoToken(_))));
        assert_eq!(check(&list(&home).unwrap(), &text), None);
    }

    #[test]
    fn scopes_are_ordered() {
        assert!(Scope::Read < Scope::Run && Scope::Run < Scope::Admin);
        assert_eq!("run".parse(), Ok(Scope::Run));
        assert!("root".parse::<Scope>().is_err());
    }
}
