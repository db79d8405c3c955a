//! Assertions with names, and answers as text.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;

use rustix::io::Errno;

/// The assertions of one group.
#[derive(Debug)]
pub struct Checks {
    group: String,
    out: File,
}

impl Checks {
    pub(super) fn new(group: String, out: File) -> Self {
        Self { group, out }
    }

    /// Asserts an answer.
    pub fn is(&mut self, name: &str, answer: impl Display, expected: impl Display) {
        let (answer, expected) = (answer.to_string(), expected.to_string());
        let line = if answer == expected {
            format!("ok {}: {name} = {answer}\n", self.group)
        } else {
            format!("not ok {}: {name} = {answer} # expected {expected}\n", self.group)
        };
        // The one at the other end counts lines.
        let _ = self.out.write_all(line.as_bytes());
    }

    /// Asserts that something holds.
    pub fn holds(&mut self, name: &str, holds: bool) {
        self.is(name, if holds { "yes" } else { "no" }, "yes");
    }

    /// Asserts that a call works.
    pub fn works<T>(&mut self, name: &str, result: Result<T, Errno>) -> Option<T> {
        self.is(name, told(&result), "ok");
        result.ok()
    }

    /// Asserts that a call fails in one way.
    pub fn fails<T>(&mut self, name: &str, result: Result<T, Errno>, expected: &str) {
        self.is(name, told(&result), expected);
    }
}

/// `ok`, or the error's name.
pub(super) fn told<T>(result: &Result<T, Errno>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(errno) => name(*errno),
    }
}

/// The value, or the error's name.
pub(super) fn value<T: Display>(result: Result<T, Errno>) -> String {
    result.map_or_else(|errno| name(errno).to_owned(), |value| value.to_string())
}

/// Received bytes as text, or the error's name.
pub(super) fn text(result: Result<Vec<u8>, Errno>) -> String {
    value(result.map(|bytes| format!("{:?}", String::from_utf8_lossy(&bytes))))
}

const NAMES: &[(Errno, &str)] = &[
    (Errno::ACCESS, "EACCES"),
    (Errno::ADDRINUSE, "EADDRINUSE"),
    (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::ALREADY, "EALREADY"),
    (Errno::BADF, "EBADF"),
    (Errno::CONNABORTED, "ECONNABORTED"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::CONNRESET, "ECONNRESET"),
    (Errno::DESTADDRREQ, "EDESTADDRREQ"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH"),
    (Errno::INPROGRESS, "EINPROGRESS"),
    (Errno::INTR, "EINTR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::ISCONN, "EISCONN"),
    (Errno::MSGSIZE, "EMSGSIZE"),
    (Errno::NETUNREACH, "ENETUNREACH"),
    (Errno::NOPROTOOPT, "ENOPROTOOPT"),
    (Errno::NOTCONN, "ENOTCONN"),
    (Errno::NOTSOCK, "ENOTSOCK"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::PERM, "EPERM"),
    (Errno::PIPE, "EPIPE"),
    (Errno::SPIPE, "ESPIPE"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
];

/// An error's name; `errno` for one that no assertion is about.
pub(super) fn name(errno: Errno) -> &'static str {
    NAMES.iter().find(|(of, _)| *of == errno).map_or("errno", |(_, name)| name)
}
