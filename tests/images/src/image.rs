//! Layers and image layouts made by hand, well-formed or not.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// A tar archive in the making.
#[derive(Default)]
pub struct Layer {
    raw: Vec<u8>,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy)]
pub enum Compression {
    /// A plain archive.
    None,
    /// gzip, fast.
    Gzip,
    /// zstd, fastest.
    Zstd,
}

impl Layer {
    /// Appends an entry of any type with everything usual about it.
    pub fn entry(&mut self, typ: EntryType, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.full(typ, path, mode, (0, 0), 1_700_000_000, &[], content)
    }

    /// A directory of mode 755.
    pub fn dir(&mut self, path: &str) -> &mut Self {
        self.entry(EntryType::Directory, path, 0o755, b"")
    }

    /// A regular file of mode 644.
    pub fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.entry(EntryType::Regular, path, 0o644, content)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.full(EntryType::Symlink, path, 0o777, (0, 0), 5, &[("linkpath", target.as_bytes())], b"")
    }

    /// A hard link to an earlier path.
    pub fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        self.full(EntryType::Link, path, 0o644, (0, 0), 5, &[("linkpath", target.as_bytes())], b"")
    }

    /// A device node.
    pub fn device(&mut self, typ: EntryType, path: &str, major: u32, minor: u32) -> &mut Self {
        let mut header = header(typ, 0o660, (0, 6), 77, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.append(&mut header, &[("path", path.as_bytes())], b"")
    }

    /// Appends an entry with PAX records; the path is always one of them.
    #[allow(clippy::too_many_arguments, reason = "a tar header has that many fields")]
    pub fn full(
        &mut self,
        typ: EntryType,
        path: &str,
        mode: u32,
        owner: (u64, u64),
        mtime: u64,
        pax: &[(&str, &[u8])],
        content: &[u8],
    ) -> &mut Self {
        let mut header = header(typ, mode, owner, mtime, content.len() as u64);
        let records: Vec<_> = [("path", path.as_bytes())].into_iter().chain(pax.iter().copied()).collect();
        self.append(&mut header, &records, content)
    }

    /// Appends a header as it is, with the PAX records before it and the content behind it.
    pub fn append(&mut self, header: &mut Header, pax: &[(&str, &[u8])], content: &[u8]) -> &mut Self {
        if !pax.is_empty() {
            let records: Vec<u8> = pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            let mut extension = self::header(EntryType::XHeader, 0o644, (0, 0), 0, records.len() as u64);
            extension.set_cksum();
            self.block(extension.as_bytes()).block(&records);
        }
        header.set_cksum();
        self.block(header.as_bytes()).block(content)
    }

    /// Appends bytes padded to a record.
    pub fn block(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw.extend_from_slice(bytes);
        self.raw.resize(self.raw.len().next_multiple_of(512), 0);
        self
    }

    /// The complete archive.
    pub fn finish(&self) -> Vec<u8> {
        let mut raw = self.raw.clone();
        raw.extend_from_slice(&[0; 1024]);
        raw
    }
}

/// A header without a path, for PAX records to give it one.
pub fn header(typ: EntryType, mode: u32, (uid, gid): (u64, u64), mtime: u64, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(typ);
    header.set_path("x").unwrap();
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(mtime);
    header.set_size(size);
    header
}

/// A PAX record.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut len = body.len() + 1;
    while len != body.len() + len.to_string().len() {
        len = body.len() + len.to_string().len();
    }
    [len.to_string().into_bytes(), body].concat()
}

/// Compresses an archive.
pub fn compress(raw: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => raw.to_vec(),
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(raw).unwrap();
            out.finish().unwrap()
        }
        Compression::Zstd => {
            ruzstd::encoding::compress_to_vec(raw, ruzstd::encoding::CompressionLevel::Fastest)
        }
    }
}

/// `sha256:` and the hash in hex.
pub fn digest(raw: &[u8]) -> String {
    let hex: String = Sha256::digest(raw).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layer as it is in a registry.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Its bytes.
    pub blob: Vec<u8>,
    /// What the manifest calls it.
    pub media_type: &'static str,
    /// The digest of the archive within.
    pub diff_id: String,
}

/// Compresses a layer.
pub fn pack(layer: &Layer, compression: Compression) -> Packed {
    let raw = layer.finish();
    let media_type = match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    Packed { blob: compress(&raw, compression), media_type, diff_id: digest(&raw) }
}

/// An image's documents.
#[derive(Debug, Clone)]
pub struct Documents {
    /// The configuration.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
}

/// Configuration and manifest of an image of these layers; `config` is its `config` object.
pub fn documents(layers: &[Packed], config: serde_json::Value) -> Documents {
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let layer = |layer: &Packed| json!({"mediaType": layer.media_type, "digest": digest(&layer.blob), "size": layer.blob.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len(),
        },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    Documents { config, manifest: serde_json::to_vec(&manifest).unwrap() }
}

/// Writes an OCI image layout with one image under the tag `latest`.
pub fn layout(folder: &Path, layers: &[Packed], config: serde_json::Value) -> Documents {
    let documents = documents(layers, config);
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |raw: &[u8]| std::fs::write(blobs.join(&digest(raw)[7..]), raw).unwrap();
    layers.iter().for_each(|layer| put(&layer.blob));
    put(&documents.config);
    put(&documents.manifest);
    std::fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(&documents.manifest), "size": documents.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }]});
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    documents
}
