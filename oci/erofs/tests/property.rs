//! Any sequence of layers, compared with a model that knows nothing of how it is done; and any bytes at all.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use monocore_erofs::{Image, Inode, Limits, LogReader, Reader, Tree, convert};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

/// One entry of a layer.
#[derive(Debug, Clone)]
enum Op {
    Dir(String, u32),
    File(String, Vec<u8>),
    HardLink(String, String),
    Fifo(String),
    Whiteout(String),
    Opaque(String),
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "dd"]), 1..4)
        .prop_map(|names| names.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (path(), 0u32..0o10000).prop_map(|(path, mode)| Op::Dir(path, mode)),
        4 => (path(), prop::collection::vec(any::<u8>(), 0..9000)).prop_map(|(path, content)| Op::File(path, content)),
        1 => (path(), prop::sample::select(vec![4096usize, 65536, 200_000])).prop_map(|(path, len)| Op::File(path, vec![0; len])),
        1 => (path(), path()).prop_map(|(path, target)| Op::HardLink(path, target)),
        1 => path().prop_map(Op::Fifo),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
    ]
}

fn archive(ops: &[Op]) -> Vec<u8> {
    let mut out = Builder::new(Vec::new());
    let add = |out: &mut Builder<Vec<u8>>, typ, path: &str, mode, link: Option<&str>, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(typ);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_path(path).unwrap();
        if let Some(link) = link {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        out.append(&header, content).unwrap();
    };
    for op in ops {
        match op {
            Op::Dir(path, mode) => add(&mut out, EntryType::Directory, path, *mode, None, b""),
            Op::File(path, content) => add(&mut out, EntryType::Regular, path, 0o644, None, content),
            Op::HardLink(path, target) => add(&mut out, EntryType::Link, path, 0o644, Some(target), b""),
            Op::Fifo(path) => add(&mut out, EntryType::Fifo, path, 0o600, None, b""),
            Op::Whiteout(path) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
                add(&mut out, EntryType::Regular, &format!("{parent}/.wh.{name}"), 0, None, b"");
            }
            Op::Opaque(path) => {
                add(&mut out, EntryType::Regular, &format!("{path}/.wh..wh..opq"), 0, None, b"");
            }
        }
    }
    out.into_inner().unwrap()
}

/// What is at a path: mode with type, and the identity of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    mode: u32,
    content: Vec<u8>,
    inode: usize,
}

/// A tree as a map of paths, changed as an unpacking tool changes a folder.
#[derive(Debug, Clone, Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    /// Paths the current layer touched, ancestors included.
    upper: BTreeSet<String>,
    inodes: usize,
}

impl Model {
    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|other, _| other != path && !other.starts_with(&below));
    }

    fn is_dir(&self, path: &str) -> bool {
        self.nodes.get(path).is_some_and(|node| node.mode & 0o170_000 == 0o040_000)
    }

    /// Makes a path's parents; `None` if one is no directory.
    fn parents(&mut self, path: &str) -> Option<()> {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if !self.nodes.contains_key(parent) {
                self.put(parent, 0o040_755, b"");
            }
            self.is_dir(parent).then_some(())?;
        }
        Some(())
    }

    fn put(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inodes += 1;
        self.nodes.insert(path.into(), Node { mode, content: content.into(), inode: self.inodes });
    }

    fn whiteout(&mut self, path: &str, itself: bool) {
        let (upper, below) = (self.upper.clone(), format!("{path}/"));
        // Whatever has an ancestor (below the start) that goes, goes too; ancestors sort first.
        let mut gone: BTreeSet<String> = BTreeSet::new();
        for other in self.nodes.keys().filter(|other| other.starts_with(&below) || (itself && *other == path))
        {
            let parent = other.rsplit_once('/').map_or("", |(parent, _)| parent);
            if gone.contains(parent) || !upper.contains(other) {
                gone.insert(other.clone());
            }
        }
        self.nodes.retain(|other, _| !gone.contains(other));
    }

    fn apply(&mut self, op: &Op) -> Option<()> {
        let path = match op {
            Op::Whiteout(path) | Op::Opaque(path) => {
                self.whiteout(path, matches!(op, Op::Whiteout(_)));
                return Some(());
            }
            Op::Dir(path, _) | Op::File(path, _) | Op::HardLink(path, _) | Op::Fifo(path) => path,
        };
        self.parents(path)?;
        match op {
            Op::Dir(path, mode) if self.is_dir(path) => {
                self.nodes.get_mut(path).unwrap().mode = 0o040_000 | mode;
            }
            _ => self.remove(path),
        }
        match op {
            Op::Dir(_, mode) if !self.is_dir(path) => self.put(path, 0o040_000 | mode, b""),
            Op::File(_, content) => self.put(path, 0o100_644, content),
            Op::Fifo(_) => self.put(path, 0o010_600, b""),
            Op::HardLink(_, target) => {
                let node = self.nodes.get(target).filter(|node| node.mode & 0o170_000 != 0o040_000)?.clone();
                self.nodes.insert(path.clone(), node);
            }
            _ => {}
        }
        let ancestors = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        self.upper.extend(ancestors.chain([path.clone()]));
        Some(())
    }
}

/// Converts layers and returns the device's bytes.
fn device(layers: &[Vec<u8>]) -> Result<Vec<u8>, monocore_erofs::Error> {
    let limits = Limits { layer_bytes: 64 << 20, file_bytes: 16 << 20, ..Limits::default() };
    let mut tree = Tree::new(limits.clone());
    let mut data = Vec::new();
    for layer in layers {
        let converted = convert(&layer[..], Vec::new(), Vec::new(), &limits)?;
        tree.apply(&mut LogReader::new(&converted.log[..])?)?;
        data.push(converted.data);
    }
    let image = Image::new(&tree)?;
    let mut device = Vec::new();
    image.write([7; 16], &mut device)?;
    for ((offset, bytes), data) in image.summary().layers.into_iter().zip(data) {
        if bytes > 0 {
            device.resize(usize::try_from(offset).unwrap(), 0);
            device.extend_from_slice(&data);
        }
    }
    Ok(device)
}

/// Reads a device back into the model's form.
fn read_back(device: &[u8]) -> Model {
    let reader = Reader::open(device).unwrap();
    let mut model = Model::default();
    let mut pending = vec![(String::new(), reader.root().unwrap())];
    while let Some((path, inode)) = pending.pop() {
        for entry in reader.entries(&inode).unwrap() {
            let name = String::from_utf8(entry.name).unwrap();
            if name == "." || name == ".." {
                continue;
            }
            let child: Inode = reader.inode(entry.nid).unwrap();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let mut content = vec![
                0;
                if child.mode & 0o170_000 == 0o100_000 {
                    usize::try_from(child.size).unwrap()
                } else {
                    0
                }
            ];
            reader.read(&child, 0, &mut content).unwrap();
            let inode = usize::try_from(entry.nid).unwrap();
            model.nodes.insert(path.clone(), Node { mode: child.mode.into(), content, inode });
            if child.is_directory() {
                pending.push((path, child));
            }
        }
    }
    model
}

/// Paths by what they share an inode with.
fn groups(model: &Model) -> BTreeSet<Vec<&String>> {
    let mut groups: BTreeMap<usize, Vec<&String>> = BTreeMap::new();
    for (path, node) in &model.nodes {
        groups.entry(node.inode).or_default().push(path);
    }
    groups.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_layers_become_what_the_model_says(layers in prop::collection::vec(prop::collection::vec(op(), 0..14), 1..4)) {
        let mut model = Model::default();
        let mut archives = Vec::new();
        for layer in layers {
            model.upper.clear();
            let mut possible = Vec::new();
            for op in layer {
                let mut next = model.clone();
                if next.apply(&op).is_some() {
                    model = next;
                    possible.push(op);
                } else {
                    // What cannot be done on disk is refused here as well.
                    let mut tried = archives.clone();
                    tried.push(archive(&[possible.clone(), vec![op]].concat()));
                    prop_assert!(device(&tried).is_err());
                }
            }
            archives.push(archive(&possible));
        }
        let found = read_back(&device(&archives).map_err(|error| TestCaseError::fail(error.to_string()))?);
        let plain = |model: &Model| {
            model.nodes.iter().map(|(path, node)| (path.clone(), node.mode, node.content.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(plain(&found), plain(&model));
        prop_assert_eq!(groups(&found), groups(&model));
    }

    #[test]
    fn damaged_archives_never_panic(
        ops in prop::collection::vec(op(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        fix_checksums in any::<bool>(),
    ) {
        let mut raw = archive(&ops);
        for (at, byte) in damage {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if fix_checksums {
            for block in raw.chunks_exact_mut(512) {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        if let Ok(device) = device(&[raw]) {
            let reader = Reader::open(&device[..]).unwrap();
            prop_assert!(reader.root().unwrap().is_directory());
        }
    }

    #[test]
    fn damaged_images_never_panic(ops in prop::collection::vec(op(), 1..8), damage in prop::collection::vec((0usize..4096, any::<u8>()), 1..20)) {
        let Ok(mut device) = device(&[archive(&ops)]) else { return Ok(()) };
        for (at, byte) in damage {
            device[at] = byte;
        }
        let Ok(reader) = Reader::open(&device[..]) else { return Ok(()) };
        let mut pending = reader.root().into_iter().collect::<Vec<_>>();
        for _ in 0..100 {
            let Some(inode) = pending.pop() else { break };
            let _ = (reader.xattrs(&inode), reader.target(&inode), reader.read(&inode, 0, &mut [0; 5000]));
            if inode.is_directory() && inode.size < 1 << 20 {
                let entries = reader.entries(&inode).unwrap_or_default();
                pending.extend(entries.iter().filter_map(|entry| reader.inode(entry.nid).ok()));
            }
        }
    }
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let ops = [
        Op::File("a".into(), vec![1; 70_000]),
        Op::Dir("d".into(), 0o755),
        Op::HardLink("d/l".into(), "a".into()),
    ];
    assert!(device(&[archive(&ops)]).unwrap() == device(&[archive(&ops)]).unwrap());
}
