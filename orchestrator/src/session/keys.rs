//! The keys that leave a command without ending it (`--detach-keys`).

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::SessionError;

/// Docker's keys.
const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of keys, as the bytes that a terminal sends for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> Self {
        // The text is this file's own.
        DEFAULT.parse().unwrap_or(Self(vec![16, 17]))
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// Reads `a,ctrl-b,…`: characters, and `ctrl-` with a letter or one of `@[\]^_`. Empty stands for the default.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |key: &str| {
            let control = key.strip_prefix("ctrl-").map(str::as_bytes);
            match (control, key.as_bytes()) {
                (Some([letter @ (b'a'..=b'z' | b'A'..=b'Z')]), _) => {
                    Some(letter.to_ascii_lowercase() - b'a' + 1)
                }
                (Some([b'@']), _) => Some(0),
                (Some([sign @ b'['..=b'_']), _) => Some(sign - b'@'),
                (None, [byte]) => Some(*byte),
                _ => None,
            }
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| {
            format!("{text}: give characters or ctrl- and one of a-z @ [ \\ ] ^ _, separated by commas")
        })
    }
}

/// Finds the keys in what is typed.
#[derive(Debug)]
struct Escape {
    keys: Vec<u8>,
    /// How many of them were typed last.
    matched: usize,
}

impl Escape {
    /// The bytes of `typed` to pass on; the second is true when the keys are complete.
    fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + self.matched);
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

/// Input that ends with the keys: they are not passed on, and [`LeaveEvent`] tells of them.
#[derive(Debug)]
pub struct KeyedInput {
    source: OwnedFd,
    escape: Escape,
    ready: Vec<u8>,
    /// The keys are complete; what came before them is passed on first.
    left: bool,
    event: Arc<OwnedFd>,
}

/// Readable once the keys were typed.
#[derive(Debug)]
pub struct LeaveEvent(Arc<OwnedFd>);

impl AsFd for LeaveEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl KeyedInput {
    /// Watches `source` for `keys`.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new(source: OwnedFd, keys: DetachKeys) -> Result<(Self, LeaveEvent), SessionError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = eventfd(0, flags).map_err(|error| SessionError::io("making an event", error))?;
        let event = Arc::new(event);
        let escape = Escape { keys: keys.0, matched: 0 };
        Ok((
            Self { source, escape, ready: Vec::new(), left: false, event: Arc::clone(&event) },
            LeaveEvent(event),
        ))
    }
}

impl KeyedInput {
    fn leave(&self) -> ! {
        // A counter that is full is raised, too.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
        // The end of this input would be the command's end of file: the process ends instead.
        loop {
            std::thread::park();
        }
    }
}

impl Read for KeyedInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            if self.left {
                self.leave();
            }
            let mut typed = [0; 1024];
            let count = rustix::io::read(&self.source, &mut typed)?;
            if count == 0 {
                return Ok(0);
            }
            (self.ready, self.left) = self.escape.feed(&typed[..count]);
        }
        let count = self.ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.0);
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(keys(""), keys("ctrl-p,ctrl-q"));
        assert_eq!(keys("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-_"), Ok(vec![b'a', 0, 27, 28, 31]));
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-aa"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_whole_sequence_leaves_and_nothing_else_is_lost() {
        let run = |chunks: &[&[u8]]| {
            let mut escape = Escape { keys: vec![16, 17], matched: 0 };
            let mut passed = Vec::new();
            for chunk in chunks {
                let (bytes, complete) = escape.feed(chunk);
                passed.extend(bytes);
                if complete {
                    return (passed, true);
                }
            }
            (passed, false)
        };
        assert_eq!(run(&[b"ls\n"]), (b"ls\n".to_vec(), false));
        assert_eq!(run(&[b"a\x10\x11b"]), (b"a".to_vec(), true));
        assert_eq!(run(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(run(&[b"\x10x\x10", b"\x10y"]), (b"\x10x\x10\x10y".to_vec(), false));
        assert_eq!(run(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
    }
}
