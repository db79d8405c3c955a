//! Layers' logs as an image, and the image read back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use monocore_erofs::{Error, Image, ImageSummary, Inode, Limits, LogReader, ReadAt, Reader, Tree};

use crate::sparse::Sparse;

const FILE: u16 = 0o100_000;
const KIND: u16 = 0o170_000;
/// Most bytes of a file that are read from its front and from its end.
const LOOK: u64 = 256 << 10;

/// What is small enough to be gone through thousands of times a second.
pub fn limits() -> Limits {
    Limits { layer_bytes: 8 << 20, entries: 4096, tree_bytes: 1 << 20, ..Limits::default() }
}

/// A machine's disk: metadata, then the layers' data; all else up to its end is zeroes.
struct Device {
    metadata: Vec<u8>,
    layers: Vec<(u64, Sparse)>,
    len: u64,
}

impl ReadAt for &Device {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.fill(0);
        let layers = self.layers.iter().map(|(start, data)| (*start, data.len_bytes(), Some(data)));
        for (start, len, layer) in [(0, self.metadata.len() as u64, None)].into_iter().chain(layers) {
            let (from, to) = (offset.max(start), end.min(start + len));
            if from < to {
                let target = &mut bytes[(from - offset) as usize..(to - offset) as usize];
                match layer {
                    Some(layer) => ReadAt::read_at(&layer, target, from - start)?,
                    None => ReadAt::read_at(&&self.metadata[..], target, from)?,
                }
            }
        }
        Ok(())
    }
}

/// Replays the logs of layers, writes the image and reads all of it. Gives the contents of its regular files,
/// those that are not too large, or why no image can be made of these logs.
///
/// # Errors
/// Those of the logs.
///
/// # Panics
/// Where an image differs from what it should be.
pub fn round_trip(logs: &[&[u8]], data: Vec<Sparse>, limits: &Limits) -> Result<BTreeSet<Vec<u8>>, Error> {
    let mut tree = Tree::new(limits.clone());
    for log in logs {
        tree.apply(&mut LogReader::new(*log)?)?;
    }
    let image = Image::new(&tree)?;
    let summary = image.summary();
    let mut metadata = Vec::new();
    image.write([7; 16], &mut metadata)?;
    assert_eq!(metadata.len() as u64, summary.metadata_bytes);
    assert_eq!(summary.layers.len(), logs.len());
    let len = summary.layers.iter().map(|(start, bytes)| start + bytes).max().unwrap_or(0);
    let starts = summary.layers.iter().map(|(start, _)| *start);
    let device =
        Device { len: len.max(summary.metadata_bytes), metadata, layers: starts.zip(data).collect() };
    Ok(walk(&device, &summary))
}

fn walk(device: &Device, summary: &ImageSummary) -> BTreeSet<Vec<u8>> {
    let reader = Reader::open(device).expect("a superblock that was just written");
    let root = reader.root().expect("a root");
    let mut names: BTreeMap<u64, u32> = BTreeMap::from([(root.nid, 1)]);
    let mut inodes = BTreeMap::from([(root.nid, root)]);
    let mut pending = vec![(root, root.nid)];
    let mut contents = BTreeSet::new();
    while let Some((inode, parent)) = pending.pop() {
        let xattrs = reader.xattrs(&inode).expect("attributes");
        assert!(xattrs.is_sorted_by(|left, right| left.0 != right.0), "a name twice");
        if inode.is_symlink() {
            assert_eq!(reader.target(&inode).expect("a target").len() as u64, inode.size);
        } else if inode.is_directory() {
            for child in children(&reader, &inode, parent) {
                let found = reader.inode(child).expect("an entry's inode");
                *names.entry(child).or_default() += 1;
                if inodes.insert(child, found).is_none() {
                    pending.push((found, inode.nid));
                } else {
                    assert!(!found.is_directory(), "a directory with two names");
                }
            }
        } else if inode.mode & KIND == FILE {
            contents.extend(content(&reader, &inode));
        } else {
            assert_eq!(inode.size, 0);
        }
    }
    assert_eq!(inodes.len() as u64, summary.inodes);
    for (nid, inode) in &inodes {
        if !inode.is_directory() {
            assert_eq!(inode.nlink, names[nid]);
        }
    }
    contents
}

/// The inodes of a directory's entries, but for itself and its parent; all of them are checked.
fn children(reader: &Reader<&Device>, directory: &Inode, parent: u64) -> Vec<u64> {
    let entries = reader.entries(directory).expect("entries");
    assert!(entries.is_sorted_by(|left, right| left.name < right.name));
    let mut children = Vec::new();
    let mut own = 0;
    for entry in entries {
        match &entry.name[..] {
            b"." => assert_eq!(entry.nid, directory.nid),
            b".." => assert_eq!(entry.nid, parent),
            name => {
                assert!(name.len() < 256 && !name.contains(&b'/') && !name.contains(&0));
                children.push(entry.nid);
                continue;
            }
        }
        own += 1;
    }
    assert_eq!(own, 2);
    children
}

/// A file's content; of a large one only front and end are read, and nothing is given.
fn content(reader: &Reader<&Device>, inode: &Inode) -> Option<Vec<u8>> {
    let read = |offset: u64, len: u64| {
        let mut bytes = vec![0; len as usize];
        assert_eq!(reader.read(inode, offset, &mut bytes).expect("a file's content") as u64, len);
        bytes
    };
    if inode.size <= LOOK {
        return Some(read(0, inode.size));
    }
    read(0, LOOK);
    read(inode.size - LOOK, LOOK);
    None
}
