//! Why something could not be done.

use rustix::io::Errno;

/// Why something could not be done; its text goes to the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's refusal.
    #[error("cannot {doing} {subject}: {}", std::io::Error::from(*errno))]
    System {
        /// What was being done.
        doing: &'static str,
        /// To what.
        subject: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    Refused(String),
    /// The host sent what is no message.
    #[error("the host sent nonsense: {0}")]
    Nonsense(#[from] monocore_protocol::DecodeError),
    /// There is no host to serve.
    #[error("cannot reach the host: {0}")]
    NoHost(std::io::Error),
}

/// Says what was being done to what when the kernel refused.
pub(crate) trait Doing<T> {
    /// `doing` is a verb: the text reads "cannot `doing` `subject`: …".
    fn doing(self, doing: &'static str, subject: impl AsRef<[u8]>) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, doing: &'static str, subject: impl AsRef<[u8]>) -> Result<T, Error> {
        self.map_err(|errno| Error::System {
            doing,
            subject: String::from_utf8_lossy(subject.as_ref()).into_owned(),
            errno,
        })
    }
}
