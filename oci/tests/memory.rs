//! Peak memory, whatever the image.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write;
use std::process::Command;

use monocore_oci::{PullOptions, Silent, Store};
use monocore_test_images::image::{self, Layer, Packed, digest, documents};
use support::server::{Content, Server};
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

/// What the child is told: registry, store.
const CHILD: &str = "MONOCORE_MEMORY_TEST";

/// Pulls in a process of its own and returns how that went and its peak in MiB.
fn pull_apart(layers: &[Packed]) -> (String, u64) {
    let content = Content::image(&documents(layers, serde_json::json!({})), layers);
    let server = Server::start(move |request| content.answer(request));
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, format!("{} {}", server.address, home.path().display()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("RESULT ")).unwrap_or_else(|| panic!("{text}")).1;
    let (peak, result) = line.split_once(' ').unwrap();
    (result.to_owned(), peak.parse().unwrap())
}

/// Does nothing unless it is run by [`pull_apart`].
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (address, home) = told.split_once(' ').unwrap();
    let store = Store::open(home).unwrap();
    let reference = format!("{address}/some/image:1").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runtime.block_on(store.pull(&reference, &PullOptions::default(), &Silent));
    println!("RESULT {} {}", peak_mib(), result.map_or_else(|error| error.to_string(), |_| "taken".into()));
}

#[test]
fn peak_memory_stays_under_256_mib() {
    let value = vec![b'v'; 6000];
    let attributes = streamed((0..26_000).map(|count| {
        let mut layer = Layer::default();
        let pax: [(&str, &[u8]); 1] = [("SCHILY.xattr.user.x", &value)];
        layer.full(EntryType::Regular, &format!("{count}"), 0o644, (0, 0), 0, &pax, b"x");
        layer
    }));
    let files = streamed((0..250_000).map(|count| {
        let mut layer = Layer::default();
        layer.file(&format!("{:03}/{count}", count % 997), format!("{count}").as_bytes());
        layer
    }));
    let pipes = streamed((0..800_000).map(|count| {
        let mut layer = Layer::default();
        let name = format!("{count:0100}");
        let mut header = image::header(EntryType::Fifo, 0o644, (0, 0), 0, 0);
        header.as_mut_bytes()[..100].copy_from_slice(name.as_bytes());
        layer.append(&mut header, &[], b"");
        layer
    }));
    // Three at once with windows as large as compressors make them.
    let windows = (1..=3u8).map(|seed| {
        let mut layer = Layer::default();
        layer.file(&format!("f{seed}"), &vec![seed; 140 << 20]);
        let raw = layer.finish();
        let media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
        Packed { blob: wide_window(&raw), media_type, diff_id: digest(&raw) }
    });
    let zeroes = streamed((0..24).map(|_| {
        let mut layer = Layer::default();
        layer.file("zeroes", &vec![0; 16 << 20]);
        layer
    }));
    let segments = sparse(6_000);
    let mut failures = Vec::new();
    for (what, layers, expected) in [
        ("attributes", vec![attributes], "names and attributes"),
        ("files", vec![files], "taken"),
        ("pipes", vec![pipes], "names and attributes"),
        ("windows", windows.collect(), "taken"),
        ("zeroes", vec![zeroes], "taken"),
        ("segments", vec![segments], "taken"),
    ] {
        let (result, peak) = pull_apart(&layers);
        eprintln!("{what}: {peak} MiB, {result}");
        if !result.contains(expected) || peak >= 256 {
            failures.push(what);
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// A file of 16 TiB of which `segments` single bytes, far apart, are content.
fn sparse(segments: u64) -> Packed {
    let size = (16u64 << 40) - 4096;
    let apart = size / segments;
    let lines = (0..segments).map(|index| format!("{}\n1\n", index * apart)).collect::<String>();
    let mut content = format!("{segments}\n{lines}").into_bytes();
    content.resize(content.len().next_multiple_of(512), 0);
    content.resize(content.len() + usize::try_from(segments).unwrap(), b'x');
    let size = size.to_string();
    let mut layer = Layer::default();
    let pax: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", size.as_bytes())];
    layer.full(EntryType::Regular, "sparse", 0o644, (0, 0), 0, &pax, &content);
    image::pack(&layer, image::Compression::Gzip)
}

/// A frame that announces a window of 128 MiB; runs of one byte are blocks of four.
fn wide_window(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3];
    let mut blocks = raw.chunks(128 << 10).peekable();
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let run = block[1..] == block[..block.len() - 1];
        let head = (u32::try_from(block.len()).unwrap() << 3) | (u32::from(run) << 1) | last;
        out.extend_from_slice(&head.to_le_bytes()[..3]);
        out.extend_from_slice(if run { &block[..1] } else { block });
    }
    out
}
