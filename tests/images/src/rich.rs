//! Three images with everything in them that a conversion can get wrong.

use tar::EntryType;

use crate::image::{Compression, Layer};

/// An image's layers, lowest first.
pub type Layers = Vec<(Layer, Compression)>;

/// Three layers that replace, hide and link through each other.
pub fn whiteouts_and_replacements() -> Layers {
    let mut base = Layer::default();
    base.full(
        EntryType::Directory,
        "./",
        0o711,
        (3, 4),
        1_600_000_000,
        &[("mtime", b"1600000000.123456789")],
        b"",
    );
    for dir in [
        "a",
        "a/b",
        "a/b/c",
        "opaque",
        "opaque/sub",
        "opaque/kept",
        "gone",
        "gone/deep",
        "swap",
        "file-to-dir",
    ] {
        if dir != "file-to-dir" {
            base.dir(dir);
        }
    }
    base.file("file-to-dir", b"was a file")
        .file("swap/inside", b"1")
        .file("a/keep", b"keep")
        .file("a/b/c/x", b"x");
    base.file("opaque/old", b"old")
        .file("opaque/sub/old", b"old")
        .file("opaque/kept/old", b"old")
        .file("gone/deep/f", b"f");
    base.file("linked", b"shared").hard_link("a/linked-too", "linked").hard_link("a/b/third", "a/linked-too");
    base.symlink("dirlink", "a/b").symlink("abs", "/a").symlink("loop", "loop").symlink("up", "../../../a");

    let mut second = Layer::default();
    second.file("opaque/new-before", b"n").entry(EntryType::Regular, "opaque/.wh..wh..opq", 0, b"");
    second.dir("opaque/kept").file("opaque/kept/new", b"new").file(".wh.gone", b"").file("a/.wh.keep", b"");
    second.dir("file-to-dir").file("file-to-dir/now", b"inside").file("swap", b"was a directory");
    second.file("linked", b"replaced, the others keep theirs").file("dirlink/through", b"lands in a/b");
    second
        .file("abs/through", b"lands in a")
        .file("up/through-up", b"lands in a too")
        .file("a/.wh.not-there", b"");
    second.entry(EntryType::Directory, "a", 0o2750, b"").hard_link("hl-through", "dirlink/through");

    let mut third = Layer::default();
    third.dir("gone").file("gone/again", b"again").file("a/b/.wh.c", b"").symlink("dirlink", "gone");
    third.file("opaque/new-before", b"in place of it").file(".wh.abs", b"");
    third.hard_link("a/b/third", "swap").full(EntryType::Directory, "/", 0o1755, (7, 8), 99, &[], b"");
    vec![(base, Compression::Gzip), (second, Compression::None), (third, Compression::Zstd)]
}

/// Every kind of entry, owner, time, attribute and name.
pub fn metadata_of_every_kind() -> Layers {
    let mut layer = Layer::default();
    layer.full(EntryType::Directory, ".", 0o755, (0, 0), 1, &[("SCHILY.xattr.user.root", b"yes")], b"");
    attributes(&mut layer);
    kinds_and_times(&mut layer);
    names(&mut layer);
    shapes(&mut layer);
    vec![(layer, Compression::Gzip)]
}

fn attributes(layer: &mut Layer) {
    let acl = [
        2u32.to_le_bytes().as_slice(),
        &acl_entry(1, 7, u32::MAX),
        &acl_entry(2, 5, 1000),
        &acl_entry(4, 5, u32::MAX),
        &acl_entry(16, 5, u32::MAX),
        &acl_entry(32, 0, u32::MAX),
    ]
    .concat();
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let long = vec![b'v'; 3000];
    layer.full(
        EntryType::Regular,
        "xattrs",
        0o750,
        (1000, 1000),
        2,
        &[
            ("SCHILY.xattr.user.a", b"1"),
            ("SCHILY.xattr.user.binary", b"\x00\xff=\n"),
            ("SCHILY.xattr.trusted.t", b"t"),
            ("SCHILY.xattr.user.long", &long),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.system.posix_acl_access", &acl),
        ],
        b"content",
    );
    layer.full(
        EntryType::Directory,
        "acl-dir",
        0o750,
        (0, 0),
        2,
        &[("SCHILY.xattr.system.posix_acl_default", &acl)],
        b"",
    );
    layer.full(
        EntryType::Symlink,
        "link-trusted",
        0o777,
        (5, 6),
        3,
        &[("linkpath", b"x"), ("SCHILY.xattr.trusted.l", b"1")],
        b"",
    );
}

fn kinds_and_times(layer: &mut Layer) {
    layer.entry(EntryType::Regular, "setuid", 0o4755, b"#!").entry(
        EntryType::Regular,
        "setgid",
        0o2755,
        b"#!",
    );
    layer.entry(EntryType::Directory, "sticky", 0o1777, b"").entry(EntryType::Regular, "no-rights", 0, b"");
    layer.device(EntryType::Char, "null", 1, 3).device(EntryType::Block, "sda", 8, 0).device(
        EntryType::Char,
        "big",
        259,
        70_000,
    );
    layer.device(EntryType::Block, "zero", 0, 0).entry(EntryType::Fifo, "pipe", 0o622, b"");
    layer.full(
        EntryType::Regular,
        "far-uid",
        0o644,
        (0, 0),
        4,
        &[("uid", b"4294967294"), ("gid", b"2147483648")],
        b"",
    );
    layer.full(EntryType::Regular, "before-epoch", 0o644, (0, 0), 0, &[("mtime", b"-12345.75")], b"");
    layer.full(
        EntryType::Regular,
        "far-future",
        0o644,
        (0, 0),
        0,
        &[("mtime", b"4102444800.000000001")],
        b"",
    );
}

fn names(layer: &mut Layer) {
    let long_name = "n".repeat(255);
    let odd = [
        "sp ace",
        "new\nline",
        "tab\t",
        "-dash",
        "ü-ñ-日本",
        "back\\slash",
        "quote\"'",
        "!first",
        "~last",
        "...",
        "..a",
        ".hidden",
        &long_name,
    ];
    // Before what is in it: umoci gives a parent of a directory made in passing the time of unpacking.
    layer.dir("odd");
    for name in odd {
        layer.file(&format!("odd/{name}"), name.as_bytes());
    }
}

/// Depth, long targets, a directory of many entries, and nothing at all.
fn shapes(layer: &mut Layer) {
    let deep = (0..60).map(|level| format!("level-{level}")).collect::<Vec<_>>();
    for depth in 1..=deep.len() {
        layer.dir(&deep[..depth].join("/"));
    }
    layer
        .symlink("long-target", &"t/".repeat(2000))
        .symlink("target-1900", &"u".repeat(1900))
        .symlink("target-2050", &"w".repeat(2050));
    layer.dir("many");
    for count in 0..3000 {
        layer.file(&format!("many/file-with-a-longish-name-{count:05}"), format!("{count}").as_bytes());
    }
    layer.dir("empty-dir").file("empty", b"");
}

fn acl_entry(tag: u16, permissions: u16, id: u32) -> [u8; 8] {
    let mut raw = [0; 8];
    raw[..2].copy_from_slice(&tag.to_le_bytes());
    raw[2..4].copy_from_slice(&permissions.to_le_bytes());
    raw[4..].copy_from_slice(&id.to_le_bytes());
    raw
}

/// Contents of every length about a block, equal ones, zeroes, and the sparse forms umoci knows.
pub fn contents_sparse_and_dense() -> Layers {
    let mut layer = Layer::default();
    layer.full(EntryType::Directory, ".", 0o755, (0, 0), 1, &[], b"");
    for len in [1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 300_000, 3 << 20] {
        layer.file(&format!("dense-{len}"), &noise(1, len)).file(&format!("twin-{len}"), &noise(1, len));
        layer.file(&format!("zero-{len}"), &vec![0; len]);
    }
    let mut holes = noise(2, 2 << 20);
    holes[70_000..700_000].fill(0);
    holes[1 << 20..].fill(0);
    layer.file("runs-of-zeroes", &holes);
    sparse_forms(&mut layer);
    let mut second = Layer::default();
    second.file("second", &noise(5, 100_000)).file("dense-513", &noise(6, 513));
    vec![(layer, Compression::Zstd), (second, Compression::Gzip), (Layer::default(), Compression::Gzip)]
}

/// GNU.sparse 0.1, then 1.0, of the same file; then a hole alone.
fn sparse_forms(layer: &mut Layer) {
    let (head, tail) = (noise(3, 5000), noise(4, 100));
    let content = [&head[..], &tail].concat();
    let map = format!("0,5000,{},100", 1 << 22);
    let size = ((1 << 22) + 100).to_string();
    layer.full(
        EntryType::Regular,
        "GNUSparseFile.1/sparse-0.1",
        0o644,
        (0, 0),
        9,
        &[
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.name", b"sparse-0.1"),
        ],
        &content,
    );
    let mut with_map = format!("2\n0\n5000\n{}\n100\n", 1 << 22).into_bytes();
    with_map.resize(512, 0);
    with_map.extend_from_slice(&content);
    layer.full(
        EntryType::Regular,
        "GNUSparseFile.1/sparse-1.0",
        0o644,
        (0, 0),
        9,
        &[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse-1.0"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ],
        &with_map,
    );
    layer.full(
        EntryType::Regular,
        "GNUSparseFile.1/hole",
        0o644,
        (0, 0),
        9,
        &[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"hole"),
            ("GNU.sparse.realsize", b"8388608"),
        ],
        &{
            let mut map = b"1\n8388608\n0\n".to_vec();
            map.resize(512, 0);
            map
        },
    );
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[6]
    };
    (0..len).map(step).collect()
}
