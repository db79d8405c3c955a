//! Certificates that a user keeps for single registries, where Docker and Podman look for them: a folder
//! `certs.d/<host>[:<port>]` with authorities in `*.crt`, and a client's own certificate and key in `*.cert` and `*.key`
//! (Docker documentation, "Verify repository client with certificates"; `containers-certs.d(5)`).
//!
//! They are trusted beside the system's own authorities, which `SSL_CERT_FILE` and `SSL_CERT_DIR` replace.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::error::{Error, Result};

/// Largest file read from such a folder, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// What a folder holds for one registry.
#[derive(Debug)]
pub(super) struct Certificates {
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
}

/// The folder for `host` (with its port, if it is not the usual one): in `own`, else where Docker and Podman look.
pub(super) fn folder(own: &[PathBuf], host: &str) -> Option<PathBuf> {
    // A host with a slash is none; it must not lead elsewhere.
    let folder =
        |base: PathBuf| Some(base.join(host)).filter(|folder| !host.contains('/') && folder.is_dir());
    own.iter().cloned().chain(usual()).find_map(folder)
}

fn usual() -> impl Iterator<Item = PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| Some(std::env::home_dir()?.join(".config")));
    let of = |base: PathBuf| ["containers/certs.d", "docker/certs.d"].map(|folder| base.join(folder));
    config.into_iter().chain([PathBuf::from("/etc")]).flat_map(of)
}

impl Certificates {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`Error::Certificates`], naming the file.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let bad = |path: &Path, reason: String| Error::Certificates { path: path.to_owned(), reason };
        let mut found = Self { authorities: Vec::new(), identity: None };
        let entries = fs::read_dir(folder).map_err(|error| bad(folder, error.to_string()))?;
        for entry in entries {
            let path = entry.map_err(|error| bad(folder, error.to_string()))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let bundle = Certificate::from_pem_bundle(&read(&path)?);
                    found.authorities.extend(bundle.map_err(|error| bad(&path, error.to_string()))?);
                }
                Some("cert") => {
                    let pem = [read(&path)?, read(&path.with_extension("key"))?].concat();
                    found.identity =
                        Some(Identity::from_pem(&pem).map_err(|error| bad(&path, error.to_string()))?);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Has a client trust and show them.
    pub(super) fn apply(self, client: ClientBuilder) -> ClientBuilder {
        let client = client.tls_certs_merge(self.authorities);
        match self.identity {
            Some(identity) => client.identity(identity),
            None => client,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bad = |reason: String| Error::Certificates { path: path.to_owned(), reason };
    let len = fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if len > FILE_BYTES {
        return Err(bad(format!("{len} bytes are no certificate")));
    }
    fs::read(path).map_err(|error| bad(error.to_string()))
}
