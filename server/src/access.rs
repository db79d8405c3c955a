//! Who asks, and what they may do.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a token allows. Each scope includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looking at everything.
    Read,
    /// Making, starting, stopping and removing sandboxes that see nothing of the host; commands in
    /// sandboxes.
    Run,
    /// Everything: also directories, sockets and devices of the host, images and projects.
    Admin,
}

impl Scope {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Read, Self::Run, Self::Admin]
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| format!("{text:?}: a scope is read, run or admin"))
    }
}

/// The other end of a connection; an extension of each of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The Unix socket, which only this user can open.
    Unix,
    /// A TCP connection that came in at a loopback address.
    Loopback(SocketAddr),
    /// A TCP connection that came in at another address.
    Remote(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Loopback(address) | Self::Remote(address) => address.fmt(f),
        }
    }
}

/// What the request may do; an extension set by the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(pub(crate) Scope);

/// The ID of the request's token, if it has one; an extension set by the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenId(pub(crate) Option<String>);
