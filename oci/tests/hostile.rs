//! Images made to do harm: confined, or refused with a clear error.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use monocore_oci::{Error, Limits};
use monocore_test_images::image::{Compression, Layer, Packed, compress, digest, header, pack};
use support::listing::{Listing, of_image};
use support::{concatenate, fsck, pull_layers};
use tar::EntryType;

/// What becomes of an image of these layers; each must pass fsck.erofs.
fn tree(layers: &[Layer]) -> Result<Listing, Error> {
    let packed: Vec<_> = layers.iter().map(|layer| pack(layer, Compression::Gzip)).collect();
    let home = tempfile::tempdir().unwrap();
    let root = pull_layers(home.path(), &packed, Limits::default())?.root()?;
    let device = home.path().join("device");
    concatenate(&root, &device);
    fsck(&device);
    Ok(of_image(&root))
}

fn one(build: impl FnOnce(&mut Layer) -> &mut Layer) -> Result<Listing, Error> {
    let mut layer = Layer::default();
    build(&mut layer);
    tree(&[layer])
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.keys().map(|path| std::str::from_utf8(path).unwrap()).collect()
}

#[track_caller]
fn refused(result: Result<Listing, Error>, why: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Layer { .. }), "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn paths_that_climb_stay_below_the_root() {
    let listing =
        one(|l| l.file("../../etc/up", b"1").file("/abs/olute", b"2").file("a/../../../b/./c//d", b"3"))
            .unwrap();
    assert_eq!(paths(&listing), ["", "abs", "abs/olute", "b", "b/c", "b/c/d", "etc", "etc/up"]);
}

#[test]
fn links_lead_nowhere_outside() {
    let listing = one(|l| {
        l.symlink("out", "../../../../etc")
            .file("out/written", b"1")
            .symlink("abs", "/tmp")
            .file("abs/written", b"2")
    });
    assert_eq!(paths(&listing.unwrap()), ["", "abs", "etc", "etc/written", "out", "tmp", "tmp/written"]);
    refused(one(|l| l.symlink("a", "b").symlink("b", "a").file("a/x", b"")), "too many symbolic links");
    refused(one(|l| l.symlink("self", "self/x").file("self/y", b"")), "links");
    let mut chain = Layer::default();
    for count in 0..300 {
        chain.symlink(&format!("l{count}"), &format!("{}l{}", "./".repeat(100), count + 1));
    }
    chain.file("l0/x", b"");
    refused(tree(&[chain]), "too many symbolic links");
}

#[test]
fn hard_links_out_of_the_image_are_refused() {
    refused(one(|l| l.hard_link("mine", "/etc/passwd")), "not there");
    refused(one(|l| l.hard_link("mine", "../../etc/passwd")), "not there");
    refused(one(|l| l.dir("d").hard_link("mine", "d")), "hard link to a directory");
    refused(one(|l| l.file("f", b"").hard_link("f", "f")), "not there");
}

#[test]
fn device_nodes_are_files_of_the_image_and_no_whiteouts() {
    let listing = one(|l| {
        l.device(EntryType::Char, "mem", 1, 1).device(EntryType::Char, "whiteout", 0, 0).device(
            EntryType::Block,
            "b",
            0,
            0,
        )
    });
    assert_eq!(paths(&listing.unwrap()), ["", "b", "mem"]);
    refused(one(|l| l.device(EntryType::Char, "huge", 5000, 0)), "device number out of range");
}

#[test]
fn whiteouts_without_sense_do_no_harm() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..."] {
        refused(one(|l| l.dir("d").file(name, b"")), "whiteout without a name");
    }
    refused(one(|l| l.file(".wh.x/inside", b"")), "beneath a whiteout");
    refused(one(|l| l.file("a/.wh..wh..opq/inside", b"")), "beneath a whiteout");
    let listing = one(|l| {
        l.file(".wh..wh.plnk/1.2", b"").file("d/.wh..wh.aufs", b"").file(".wh..wh..opq", b"").dir("d")
    });
    assert_eq!(paths(&listing.unwrap()), ["", "d"]);
    let mut base = Layer::default();
    base.file("f", b"base").dir("d").file("d/x", b"");
    let mut upper = Layer::default();
    upper.symlink("out", "../..").file("out/.wh.f", b"").file("../../.wh.d", b"").file("f/.wh.x", b"");
    assert_eq!(paths(&tree(&[base, upper]).unwrap()), ["", "out"]);
}

#[test]
fn the_last_of_duplicate_entries_counts() {
    let listing = one(|l| {
        l.file("f", b"1").file("f", b"22").dir("f").file("f/x", b"").symlink("f", "gone").dir("./f/")
    });
    let listing = listing.unwrap();
    assert_eq!(paths(&listing), ["", "f"]);
    refused(one(|l| l.file("f", b"").file("f/below", b"")), "not a directory");
    refused(one(|l| l.symlink("/", "x")), "root must be a directory");
    refused(one(|l| l.file("..", b"")), "root must be a directory");
}

#[test]
fn owners_out_of_range_are_refused() {
    let owner = |uid: &'static [u8]| {
        one(move |l| l.full(EntryType::Regular, "f", 0o644, (0, 0), 0, &[("uid", uid)], b""))
    };
    for (text, uid) in
        [(&b"2147483647"[..], (1 << 31) - 1), (b"2147483648", 1 << 31), (b"4294967294", u32::MAX - 1)]
    {
        assert_eq!(owner(text).unwrap()[&b"f"[..]].uid, uid);
    }
    refused(owner(b"4294967295"), "owner out of range");
    refused(owner(b"99999999999"), "owner out of range");
    refused(owner(b"-1"), "PAX");
}

#[test]
fn pax_tricks_are_refused() {
    let pax = |records: &'static [(&'static str, &'static [u8])]| {
        one(move |l| l.full(EntryType::Regular, "f", 0o644, (0, 0), 0, records, b"12345"))
    };
    refused(pax(&[("path", b"a\0b")]), "NUL");
    refused(pax(&[("size", b"9999999")]), "ends within a file");
    refused(pax(&[("size", b"18446744073709551615")]), "");
    refused(pax(&[("GNU.sparse.map", b"0,5"), ("GNU.sparse.size", b"3")]), "sparse map");
    refused(pax(&[("GNU.sparse.map", b"0,3,1,2"), ("GNU.sparse.size", b"9")]), "sparse map");
    refused(pax(&[("GNU.sparse.map", b"18446744073709551615,5"), ("GNU.sparse.size", b"9")]), "sparse map");
    refused(
        pax(&[("GNU.sparse.map", b"0,5"), ("GNU.sparse.size", b"9999999999999999999")]),
        "bytes in one file",
    );
    refused(pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")]), "sparse map");
    refused(pax(&[("mtime", b"NaN")]), "PAX");
    let long = Box::leak(vec![b'n'; 256].into_boxed_slice());
    refused(
        one(|l| l.full(EntryType::Regular, "f", 0, (0, 0), 0, &[("path", long)], b"")),
        "name longer than 255",
    );
    let deep = "d/".repeat(3000);
    refused(one(|l| l.dir(&deep)), "path too long");
    let big = vec![b'x'; 2 << 20];
    refused(
        one(|l| l.full(EntryType::Regular, "f", 0, (0, 0), 0, &[("comment", &big)], b"")),
        "extension header",
    );
    let value = vec![b'x'; 60_000];
    let names: Vec<_> = (0..8).map(|count| format!("SCHILY.xattr.user.{count}")).collect();
    let records: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_slice())).collect();
    refused(one(|l| l.full(EntryType::Regular, "f", 0, (0, 0), 0, &records, b"")), "attributes on one file");
}

#[test]
fn attributes_of_overlayfs_mean_nothing_to_the_guests() {
    let listing = one(|l| {
        l.full(
            EntryType::Directory,
            "d",
            0o755,
            (0, 0),
            0,
            &[("SCHILY.xattr.trusted.overlay.opaque", b"y")],
            b"",
        )
    });
    // The reader shows what a guest sees through overlayfs; on the device it is escaped.
    assert!(listing.unwrap()[&b"d"[..]].xattrs.contains_key(&b"trusted.overlay.opaque"[..]));
}

#[test]
fn archives_that_break_off_are_refused() {
    let mut layer = Layer::default();
    layer.file("f", &[7; 3000]);
    let whole = layer.finish();
    for len in [1, 511, 513, 1000, 1600] {
        let raw = &whole[..len];
        let packed = Packed {
            blob: compress(raw, Compression::Gzip),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
            diff_id: digest(raw),
        };
        let home = tempfile::tempdir().unwrap();
        let error = pull_layers(home.path(), &[packed], Limits::default()).unwrap_err();
        assert!(matches!(error, Error::Layer { .. }), "{len}: {error}");
    }
    let mut bad = Layer::default();
    let mut wrong = header(EntryType::Regular, 0o644, (0, 0), 0, 0);
    wrong.as_mut_bytes()[148] = b'9';
    bad.block(wrong.as_bytes());
    refused(tree(&[bad]), "checksum");
}

#[test]
fn bombs_stop_at_the_limit() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut layer = Layer::default();
        layer.file("bomb", &vec![0; 64 << 20]);
        let limits = Limits { layer_bytes: 8 << 20, ..Limits::default() };
        let home = tempfile::tempdir().unwrap();
        let packed = pack(&layer, compression);
        let error = pull_layers(home.path(), &[packed], limits).unwrap_err();
        assert!(error.to_string().contains("limit of 8388608 bytes in one unpacked archive"), "{error}");
    }
    let mut many = Layer::default();
    for count in 0..2000 {
        many.dir(&format!("{count}"));
    }
    let packed = pack(&many, Compression::Gzip);
    let home = tempfile::tempdir().unwrap();
    for limits in
        [Limits { entries: 1000, ..Limits::default() }, Limits { tree_bytes: 100_000, ..Limits::default() }]
    {
        let error = pull_layers(home.path(), std::slice::from_ref(&packed), limits).unwrap_err();
        assert!(matches!(error, Error::Layer { source: monocore_erofs::Error::Limit { .. }, .. }), "{error}");
    }
}

/// Layers that are each within the bounds.
fn layers(count: u8, bytes: usize) -> Vec<Packed> {
    let layer = |fill| {
        let mut layer = Layer::default();
        layer.file("file", &vec![fill; bytes]);
        pack(&layer, Compression::Gzip)
    };
    (0..count).map(layer).collect()
}

#[test]
fn an_images_layers_together_are_bounded() {
    let limits = Limits { image_bytes: 5 << 20, ..Limits::default() };
    let home = tempfile::tempdir().unwrap();
    pull_layers(home.path(), &layers(4, 1 << 20), limits.clone()).unwrap();
    // Four of the six are in the store by now and count all the same.
    let error = pull_layers(home.path(), &layers(6, 1 << 20), limits.clone()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "uncompressed", limit_bytes: 5_242_880 }), "{error}");
    let other = tempfile::tempdir().unwrap();
    let error = pull_layers(other.path(), &layers(6, 1 << 20), limits).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("more than 5242880 bytes uncompressed"), "{error}");
}

#[test]
fn what_is_too_large_to_fetch_is_not_fetched() {
    let limits = Limits { image_bytes: 100, ..Limits::default() };
    let home = tempfile::tempdir().unwrap();
    let error = pull_layers(home.path(), &layers(2, 100), limits).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "compressed", .. }), "{error}");
    assert_eq!(std::fs::read_dir(home.path().join("oci/erofs/layers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(home.path().join("oci/tmp")).unwrap().count(), 0);
}

#[test]
fn links_that_cost_more_than_they_bring_are_refused() {
    // Every entry below `l0` walks through two hundred links of eighty components each.
    let mut layer = Layer::default();
    layer.dir("end");
    for count in 0..200 {
        let next = if count == 199 { "end".to_owned() } else { format!("l{}", count + 1) };
        layer.symlink(&format!("l{count}"), &format!("{}{next}", "../".repeat(80)));
    }
    for count in 0..100 {
        layer.file(&format!("l0/{count}"), b"");
    }
    let packed = [pack(&layer, Compression::Gzip)];
    let home = tempfile::tempdir().unwrap();
    let limits = Limits { lookups: 1_000_000, ..Limits::default() };
    let error = pull_layers(home.path(), &packed, limits).unwrap_err();
    assert!(matches!(error, Error::Layer { source: monocore_erofs::Error::Limit { .. }, .. }), "{error}");
    assert!(error.to_string().contains("limit of 1000000 path components"), "{error}");
    pull_layers(home.path(), &packed, Limits::default()).unwrap();
}
