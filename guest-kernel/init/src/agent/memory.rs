//! Processes that the kernel ended because memory was out: `memory.events` of the commands' control group.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Counts them.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    file: OwnedFd,
    kills: u64,
}

impl MemoryWatch {
    pub(crate) fn new(file: OwnedFd) -> Self {
        let mut watch = Self { file, kills: 0 };
        // The kernel tells of changes since the last look only.
        watch.look();
        watch
    }

    /// Whether there are more than at the last look.
    pub(crate) fn look(&mut self) -> bool {
        let mut text = [0; 512];
        let count = rustix::io::pread(&self.file, &mut text, 0).unwrap_or(0);
        let kills = kills(&text[..count]).unwrap_or(self.kills);
        std::mem::replace(&mut self.kills, kills) < kills
    }
}

impl AsFd for MemoryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn kills(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted() {
        assert_eq!(kills(b"low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills(b"oom 1\n"), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watch = MemoryWatch::new(file.reopen().unwrap().into());
        assert!(!watch.look());
        std::fs::write(file.path(), "oom_kill 1\n").unwrap();
        assert!(watch.look() && !watch.look());
    }
}
