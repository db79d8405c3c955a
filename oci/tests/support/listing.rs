//! A tree as a list that can be compared, read from a folder or from an EROFS image.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use monocore_erofs::{Inode, ReadAt, Reader};
use monocore_oci::RootImage;
use sha2::{Digest, Sha256};

/// What is to be equal about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Files and links only.
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    /// Not of directories.
    pub(crate) nlink: u64,
    /// The first path of the same inode.
    pub(crate) same_as: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Hash of a file's content; target of a link.
    pub(crate) content: Vec<u8>,
}

pub(crate) type Listing = BTreeMap<Vec<u8>, Row>;

/// Fails with the first few differences.
pub(crate) fn assert_same(left: &Listing, right: &Listing, what: &str) {
    let mut differences = Vec::new();
    for path in left.keys().chain(right.keys()) {
        if left.get(path) != right.get(path) {
            let text = format!("{}\n  {:?}\n  {:?}", path.escape_ascii(), left.get(path), right.get(path));
            if !differences.contains(&text) {
                differences.push(text);
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {} differ\n{}",
        differences.len(),
        differences[..differences.len().min(8)].join("\n")
    );
    assert!(left.len() > 1, "{what}: nothing was compared");
}

/// Lists a folder of the host.
pub(crate) fn of_folder(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut inodes = BTreeMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(OsStr::from_bytes(&path));
        let metadata = fs::symlink_metadata(&full).unwrap();
        let mut row = Row {
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            device: metadata.rdev(),
            nlink: metadata.nlink(),
            same_as: Vec::new(),
            xattrs: xattrs(&full),
            content: Vec::new(),
        };
        if metadata.is_dir() {
            (row.size, row.nlink) = (0, 0);
            for entry in fs::read_dir(&full).unwrap() {
                let name = entry.unwrap().file_name();
                pending.push(join(&path, name.as_bytes()));
            }
        } else if metadata.is_symlink() {
            row.content = fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec();
        } else if metadata.is_file() {
            let file = File::open(&full).unwrap();
            row.content = hash(metadata.size(), |bytes, offset| file.read_at(bytes, offset).unwrap());
        }
        inodes.entry(metadata.ino()).or_insert_with(Vec::new).push(path.clone());
        listing.insert(path, row);
    }
    link_up(listing, inodes)
}

/// Lists an EROFS image through our own reader.
pub(crate) fn of_image(root: &RootImage) -> Listing {
    let reader = Reader::open(Device::open(root)).unwrap();
    let mut listing = Listing::new();
    let mut inodes = BTreeMap::new();
    let mut pending = vec![(Vec::new(), reader.root().unwrap())];
    while let Some((path, inode)) = pending.pop() {
        let row = row(&reader, &inode);
        if inode.is_directory() {
            for entry in reader.entries(&inode).unwrap() {
                if entry.name != b"." && entry.name != b".." {
                    pending.push((join(&path, &entry.name), reader.inode(entry.nid).unwrap()));
                }
            }
        }
        inodes.entry(inode.nid).or_insert_with(Vec::new).push(path.clone());
        listing.insert(path, row);
    }
    link_up(listing, inodes)
}

fn row(reader: &Reader<Device>, inode: &Inode) -> Row {
    let kind = inode.mode & 0o170_000;
    let plain = kind == 0o100_000;
    let device = match kind {
        0o020_000 | 0o060_000 => {
            let number = inode.device();
            let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
            rustix::fs::makedev(major, minor)
        }
        _ => 0,
    };
    let content = match (plain, inode.is_symlink()) {
        (true, _) => hash(inode.size, |bytes, offset| reader.read(inode, offset, bytes).unwrap()),
        (_, true) => reader.target(inode).unwrap(),
        _ => Vec::new(),
    };
    Row {
        mode: inode.mode.into(),
        uid: inode.uid,
        gid: inode.gid,
        size: if inode.is_directory() { 0 } else { inode.size },
        mtime: (inode.mtime, inode.mtime_nsec.into()),
        device,
        nlink: if inode.is_directory() { 0 } else { inode.nlink.into() },
        same_as: Vec::new(),
        xattrs: reader.xattrs(inode).unwrap().into_iter().collect(),
        content,
    }
}

fn link_up(mut listing: Listing, inodes: BTreeMap<u64, Vec<Vec<u8>>>) -> Listing {
    for paths in inodes.values().filter(|paths| paths.len() > 1) {
        let first = paths.iter().min().unwrap();
        paths.iter().for_each(|path| listing.get_mut(path).unwrap().same_as = first.clone());
    }
    listing
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn hash(size: u64, read: impl Fn(&mut [u8], u64) -> usize) -> Vec<u8> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < size {
        let len = read(&mut buffer, offset);
        assert!(len > 0, "content ends early");
        hasher.update(&buffer[..len]);
        offset += len as u64;
    }
    hasher.finalize().to_vec()
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names =
        names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != b"security.selinux");
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect()
}

/// The files of an image as one device.
pub(crate) struct Device(Vec<(File, u64, u64)>);

impl Device {
    pub(crate) fn open(root: &RootImage) -> Self {
        let part = |part: &monocore_oci::RootPart| {
            (File::open(&part.path).unwrap(), part.offset_bytes, part.len_bytes)
        };
        Self(root.parts.iter().map(part).collect())
    }
}

impl ReadAt for Device {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        bytes.fill(0);
        let end = offset + bytes.len() as u64;
        for (file, start, len) in &self.0 {
            let (from, to) = (offset.max(*start), end.min(start + len));
            if from < to {
                let range = usize::try_from(from - offset).unwrap()..usize::try_from(to - offset).unwrap();
                file.read_exact_at(&mut bytes[range], from - start)?;
            }
        }
        Ok(())
    }
}
