//! Peak memory, whatever the image. One test, because it measures its own process.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write;

use monocore_oci::Limits;
use support::image::{Compression, Layer, Packed, compress, digest, pack};
use support::pull_layers;
use tar::EntryType;

/// Highest resident size of this process so far, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// A layer whose archive is written entry by entry into a compressor: it is never in memory whole.
fn streamed(entries: impl Iterator<Item = Layer>) -> Packed {
    use sha2::Digest;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut hasher = sha2::Sha256::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes).unwrap();
    };
    for entry in entries {
        let raw = entry.finish();
        put(&raw[..raw.len() - 1024]);
    }
    put(&[0; 1024]);
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Packed {
        blob: out.finish().unwrap(),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
        diff_id: format!("sha256:{hex}"),
    }
}

#[test]
fn peak_memory_stays_under_256_mib() {
    // Entries without end, with long names and attributes: refused once the tree is too large.
    let name = "n".repeat(200);
    let value = vec![b'v'; 2000];
    let many = streamed((0..150_000).map(|count| {
        let mut layer = Layer::default();
        let pax: [(&str, &[u8]); 1] = [("SCHILY.xattr.user.x", &value)];
        layer.full(EntryType::Regular, &format!("{name}{count}"), 0o644, (0, 0), 0, &pax, b"x");
        layer
    }));
    // As many small files as the limits let through.
    let small = streamed((0..400_000).map(|count| {
        let mut layer = Layer::default();
        layer.file(&format!("{:03}/{count}", count % 997), format!("{count}").as_bytes());
        layer
    }));
    // Three at once with windows as large as compressors make them.
    let large: Vec<_> = (0..3u8)
        .map(|seed| {
            let mut layer = Layer::default();
            layer.file(&format!("f{seed}"), &vec![seed + 1; 8 << 20]);
            let raw = layer.finish();
            Packed {
                blob: wide_window(&raw),
                media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
                diff_id: digest(&raw),
            }
        })
        .collect();
    let bomb = streamed((0..64).map(|_| {
        let mut layer = Layer::default();
        layer.file("zeroes", &vec![0; 16 << 20]);
        layer
    }));
    let before = peak_mib();
    for (what, layers) in
        [("attributes", vec![many]), ("small files", vec![small]), ("windows", large), ("zeroes", vec![bomb])]
    {
        let home = tempfile::tempdir().unwrap();
        // What is measured includes the compressed layers, which this process serves.
        let served: usize = layers.iter().map(|layer| layer.blob.len() >> 20).sum();
        let result = pull_layers(home.path(), &layers, Limits::default());
        let text = result.as_ref().map_or_else(ToString::to_string, |_| "taken".into());
        eprintln!("{what}: {text}; peak {} MiB (before all: {before}, serving {served})", peak_mib());
        assert_eq!(result.is_ok(), what != "attributes", "{text}");
        assert!(peak_mib() < 256, "{what}");
    }
    let _ = (pack(&Layer::default(), Compression::None), compress(b"", Compression::None));
}

/// Raw blocks in a frame that announces a window of 128 MiB.
fn wide_window(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3];
    let mut blocks = raw.chunks(128 << 10).peekable();
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let head = u32::try_from(block.len()).unwrap() << 3 | last;
        out.extend_from_slice(&head.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out
}
