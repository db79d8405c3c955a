//! What a failed TLS handshake says, and what a user can do about it.

use std::error::Error as Cause;
use std::io;

/// What to do if it was TLS that failed: nothing that another attempt could mend.
pub(super) fn hint(error: &reqwest::Error) -> Option<&'static str> {
    use rustls::{CertificateError, Error};
    Some(match failure(error)? {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "put its authority into ~/.config/docker/certs.d/HOST:PORT/ca.crt, or name it in SSL_CERT_FILE"
        }
        Error::InvalidCertificate(_) => "its certificate is not good for it",
        Error::InvalidMessage(_) => "it does not speak TLS; `--insecure` speaks plain HTTP to it",
        Error::AlertReceived(_) => {
            "it wants a certificate: ~/.config/docker/certs.d/HOST:PORT/client.cert and .key"
        }
        _ => return None,
    })
}

/// TLS' own error among the causes.
fn failure(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Cause + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An `io::Error` passes for what it carries, which may be one again, and shows it only this way.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}
