//! Finding a path in the tree as a process confined to it would, links included.

use super::{NodeId, ROOT, Tree};
use crate::convert::split;
use crate::entry::Metadata;
use crate::error::{Error, Result};
use crate::format::S_IFDIR;
use crate::tree::{Content, Inode};

/// Links followed in one path; Linux stops at 40, unpacking tools at 255.
const LINKS_MAX: usize = 255;

/// Components walked for one path, those of links included.
const STEPS_MAX: usize = 16_384;

/// Where a directory's path leads.
#[derive(Debug)]
pub(super) struct Place {
    /// The deepest node that exists.
    node: NodeId,
    /// Components below it that do not.
    missing: Vec<Vec<u8>>,
}

impl Place {
    /// The node, if the whole path exists.
    pub(super) fn existing(&self) -> Option<NodeId> {
        self.missing.is_empty().then_some(self.node)
    }
}

impl Tree {
    /// Resolves a directory's path: links are followed within the root, `..` goes up to it at most, and below what
    /// does not exist the rest is taken literally.
    pub(super) fn resolve(&mut self, path: &[u8]) -> Result<Place> {
        let mut place = Place { node: ROOT, missing: Vec::new() };
        let (mut links, mut steps) = (0, 0);
        // What is still to be walked, last component first.
        let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        while let Some(component) = rest.pop() {
            steps += 1;
            self.count_lookup()?;
            if steps + rest.len() > STEPS_MAX {
                return Err(Error::refused(path, "path too long once links are followed"));
            }
            if component == b".." {
                if place.missing.pop().is_none() {
                    place.node = self.parent(place.node);
                }
                continue;
            }
            let Some(next) = place.existing().and_then(|parent| self.lookup(parent, &component)) else {
                place.missing.push(component);
                continue;
            };
            let Content::Target(target) = &self.inode(self.inode_id(next)).content else {
                place.node = next;
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(Error::refused(path, "too many symbolic links"));
            }
            if target.starts_with(b"/") {
                place = Place { node: ROOT, missing: Vec::new() };
            }
            rest.extend(components(target).rev().map(<[u8]>::to_vec));
        }
        Ok(place)
    }

    /// One path may be long, and so may be a log. Both together must not take hours.
    fn count_lookup(&mut self) -> Result<()> {
        self.lookups += 1;
        if self.lookups > self.limits.lookups {
            return Err(Error::Limit { what: "path components to look up", limit: self.limits.lookups });
        }
        Ok(())
    }

    /// Resolves a path except for its last component; `None` for the root.
    pub(super) fn resolve_parent<'p>(&mut self, path: &'p [u8]) -> Result<Option<(Place, &'p [u8])>> {
        if path.is_empty() {
            return Ok(None);
        }
        let (parent, name) = split(path);
        Ok(Some((self.resolve(parent)?, name)))
    }

    /// Finds the node at a path whose last component is not followed.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<NodeId>> {
        Ok(match self.resolve_parent(path)? {
            None => Some(ROOT),
            Some((place, name)) => place.existing().and_then(|parent| self.lookup(parent, name)),
        })
    }

    /// Makes the directories that are missing at a place: root's, mode 0755, as old as the epoch.
    pub(super) fn make_directories(&mut self, place: Place, path: &[u8]) -> Result<NodeId> {
        let mut node = place.node;
        for name in place.missing {
            self.require_directory(node, path)?;
            let metadata = Metadata { mode: 0o755, ..Metadata::default() };
            let inode = self.add_inode(Inode::new(S_IFDIR, metadata, self.layer, Content::None))?;
            node = self.link(node, &name, inode)?;
        }
        self.require_directory(node, path)?;
        Ok(node)
    }

    fn require_directory(&self, node: NodeId, path: &[u8]) -> Result<()> {
        if self.is_directory(node) {
            return Ok(());
        }
        Err(Error::refused(path, "something that is not a directory is in its way"))
    }
}

/// Components of a path, `.` and empty ones left out.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
}
