//! The byte ranges of one file that one lock owner holds.
//!
//! The host's kernel decides who gets a lock. This copy bounds their number, and knows which process of the guest
//! holds one.

use serde::{Deserialize, Serialize};

/// Whether a lock can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LockKind {
    /// Others may hold read locks.
    Read,
    /// Nobody else may hold a lock.
    Write,
}

/// A locked range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockedRange {
    pub(crate) start: u64,
    /// The last byte; `i64::MAX` for the file's end, wherever that is.
    pub(crate) end: u64,
    pub(crate) kind: LockKind,
    /// The guest's process that took the lock.
    pub(crate) pid: u32,
}

impl LockedRange {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }

    /// Whether somebody else's lock of `kind` on these bytes is impossible while this one is held.
    pub(crate) fn excludes(&self, start: u64, end: u64, kind: LockKind) -> bool {
        self.overlaps(start, end) && (self.kind == LockKind::Write || kind == LockKind::Write)
    }
}

/// Disjoint ranges in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockedRanges(Vec<LockedRange>);

impl LockedRanges {
    /// Locks a range; the owner's own locks on these bytes are replaced.
    pub(crate) fn lock(&mut self, range: LockedRange) {
        self.unlock(range.start, range.end);
        let at = self.0.partition_point(|other| other.start < range.start);
        self.0.insert(at, range);
        self.0.dedup_by(|later, earlier| {
            let joined = earlier.end.checked_add(1) == Some(later.start)
                && (earlier.kind, earlier.pid) == (later.kind, later.pid);
            if joined {
                earlier.end = later.end;
            }
            joined
        });
    }

    /// Unlocks a range; a lock that reaches beyond is cut or split.
    pub(crate) fn unlock(&mut self, start: u64, end: u64) {
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for range in &self.0 {
            if !range.overlaps(start, end) {
                kept.push(*range);
                continue;
            }
            if let Some(before) = start.checked_sub(1).filter(|before| range.start <= *before) {
                kept.push(LockedRange { end: before, ..*range });
            }
            if let Some(after) = end.checked_add(1).filter(|after| *after <= range.end) {
                kept.push(LockedRange { start: after, ..*range });
            }
        }
        self.0 = kept;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LockedRange> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, end: u64, kind: LockKind) -> LockedRange {
        LockedRange { start, end, kind, pid: 1 }
    }

    #[test]
    fn ranges_split_and_join() {
        let mut ranges = LockedRanges::default();
        ranges.lock(range(0, 99, LockKind::Write));
        ranges.unlock(10, 19);
        assert_eq!(ranges.0, [range(0, 9, LockKind::Write), range(20, 99, LockKind::Write)]);
        ranges.lock(range(10, 19, LockKind::Write));
        assert_eq!(ranges.0, [range(0, 99, LockKind::Write)]);
        ranges.lock(range(50, i64::MAX.unsigned_abs(), LockKind::Read));
        assert_eq!(ranges.len(), 2);
        ranges.unlock(0, u64::MAX);
        assert_eq!(ranges.len(), 0);
    }

    proptest! {
        #[test]
        fn every_byte_is_as_it_was_set_last(
            steps in proptest::collection::vec((0u64..40, 0u64..40, 0u8..3), 1..60),
        ) {
            let mut ranges = LockedRanges::default();
            let mut bytes = [None; 80];
            for (start, len, what) in steps {
                let end = start + len;
                let kind = match what { 0 => None, 1 => Some(LockKind::Read), _ => Some(LockKind::Write) };
                match kind {
                    Some(kind) => ranges.lock(range(start, end, kind)),
                    None => ranges.unlock(start, end),
                }
                bytes[usize::try_from(start).unwrap()..=usize::try_from(end).unwrap()].fill(kind);
                for (at, kind) in bytes.iter().enumerate() {
                    let found = ranges.iter().find(|r| r.overlaps(at as u64, at as u64)).map(|r| r.kind);
                    prop_assert_eq!(found, *kind);
                }
                prop_assert!(ranges.0.is_sorted_by(|a, b| a.end < b.start));
            }
        }
    }
}
