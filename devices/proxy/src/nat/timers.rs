//! When to look at a connection again: at most one entry each, so that setting a time costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::slab::Id;

/// Times, the nearest first. An entry says when to look, not that the time is still right.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BinaryHeap<Reverse<(Instant, Id)>>,
}

impl Timers {
    pub(crate) fn add(&mut self, at: Instant, id: Id) {
        self.entries.push(Reverse((at, id)));
    }

    /// Takes the next entry whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Id> {
        let Reverse((at, _)) = self.entries.peek()?;
        if *at > now {
            return None;
        }
        self.entries.pop().map(|Reverse((_, id))| id)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }
}
