//! What the guest was told last of a file, so that it never sees new bytes under an old length.
//!
//! A guest trusts attributes for a while, and its cache holds pages that fit them. If the host changes the file meanwhile,
//! what the guest reads next does not fit. So the server remembers a digest of size and times as it told them, and refuses
//! to open or to read a newer file until the guest has asked again.

use super::{Node, Nodes};
use crate::host::Stat;

/// Most reads in a row that are refused: of a file that changes all the time there is no state that could be read.
const MAX_REFUSALS: u8 = 16;

impl Nodes {
    /// Notes that the guest is told a file's attributes.
    pub(crate) fn tell(&mut self, id: u64, stat: &Stat) {
        let version = self.version(stat);
        if let Some(node) = self.by_id.get_mut(&id) {
            node.told = version;
            node.refused_pid = Node::NOBODY;
        }
    }

    /// Notes that the guest has changed a file's content. Its kernel asks for the attributes before it uses them.
    pub(crate) fn untell(&mut self, id: u64) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.told = 0;
        }
    }

    /// Notes that a file changed by the guest's doing in a way that it knows of: its attributes are as fresh as before.
    pub(crate) fn still_told(&mut self, id: u64, before: &Stat, after: &Stat) {
        let (before, after) = (self.version(before), self.version(after));
        if let Some(node) = self.by_id.get_mut(&id)
            && node.told == before
        {
            node.told = after;
        }
    }

    /// Whether process `pid` has to look the file up again before it can open it. True once in a row, as not every open can.
    pub(crate) fn refuses_open(&mut self, id: u64, pid: u32, stat: &Stat) -> bool {
        let news = self.is_news(id, stat);
        self.by_id
            .get_mut(&id)
            .is_some_and(|node| news && std::mem::replace(&mut node.refused_pid, pid) != pid)
    }

    /// Whether the guest has to ask for the attributes before it reads into its cache.
    pub(crate) fn refuses_read(&mut self, id: u64, stat: &Stat) -> bool {
        let news = self.is_news(id, stat);
        let Some(node) = self.by_id.get_mut(&id) else { return false };
        let refused = news && node.refusals < MAX_REFUSALS;
        node.refusals = if refused { node.refusals + 1 } else { 0 };
        refused
    }

    fn is_news(&self, id: u64, stat: &Stat) -> bool {
        let told = self.by_id.get(&id).map_or(0, |node| node.told);
        told != 0 && told != self.version(stat)
    }

    /// A digest of what changes with a regular file's content; 0 for every other file.
    fn version(&self, stat: &Stat) -> u64 {
        use std::hash::BuildHasher;
        if !stat.is_file() {
            return 0;
        }
        let raw = stat.raw();
        let time = |time: &rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        self.hasher.hash_one((raw.stx_size, time(&raw.stx_mtime), time(&raw.stx_ctime))) | 1
    }
}
