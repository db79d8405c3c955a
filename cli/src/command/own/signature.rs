//! Signatures of published programs: Ed25519 (RFC 8032) of a program's SHA-256.

use std::path::Path;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use monocore_oci::Digest;
use ring::signature::{ED25519, UnparsedPublicKey};

/// The public key that this program was built with, base64.
const BUILT_IN: Option<&str> = option_env!("MONOCORE_PUBLIC_KEY");
/// Begins the text that is signed; the SHA-256 follows as lowercase hexadecimal digits. A signature that the publisher
/// made for another purpose does not fit.
const CONTEXT: &str = "monocore-program-sha256:";
/// The longest file of a key or signature, bytes.
pub(super) const MAX_BYTES: u64 = 4 << 10;
/// The length of a public key, bytes.
const KEY_BYTES: usize = 32;

/// A public key.
pub(super) struct PublicKey(Vec<u8>);

impl PublicKey {
    /// The key in `file`, else the one of this program.
    pub(super) fn find(file: Option<&Path>) -> anyhow::Result<Self> {
        match (file, BUILT_IN) {
            (Some(path), _) => {
                let cannot = || format!("{}", path.display());
                let length = path.metadata().with_context(cannot)?.len();
                anyhow::ensure!(length <= MAX_BYTES, "{}: too long for a public key", path.display());
                Self::read(&std::fs::read(path).with_context(cannot)?).with_context(cannot)
            }
            (None, Some(text)) => Self::read(text.as_bytes()).context("the key of this program"),
            (None, None) => Err(anyhow!(
                "this program was built without a public key: name the file of the publisher's with --key"
            )),
        }
    }

    fn read(text: &[u8]) -> anyhow::Result<Self> {
        let key = decode(text).context("not the base64 of a public key")?;
        anyhow::ensure!(key.len() == KEY_BYTES, "a public key has {KEY_BYTES} bytes, not {}", key.len());
        Ok(Self(key))
    }

    /// Whether `signature`, as it was published, is one of the program with this digest.
    pub(super) fn verify(&self, digest: &Digest, signature: &[u8]) -> anyhow::Result<()> {
        let signature = decode(signature).context("not the base64 of a signature")?;
        let message = format!("{CONTEXT}{}", digest.hex());
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(message.as_bytes(), &signature).map_err(|_| anyhow!("not a signature of this program"))
    }
}

fn decode(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(BASE64_STANDARD.decode(text.trim_ascii())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes() {
        assert!(PublicKey::read(BASE64_STANDARD.encode([7; 32]).as_bytes()).is_ok());
        for bad in ["", "x", &BASE64_STANDARD.encode([7; 31]), &BASE64_STANDARD.encode([7; 33])] {
            assert!(PublicKey::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
