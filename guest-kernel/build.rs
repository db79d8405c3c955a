//! Finds the guest's kernel and initramfs, which `cargo xtask guest` makes, and tells the crate what is there.

#![allow(clippy::print_stdout, reason = "a build script talks to cargo that way")]

use std::env;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn main() {
    println!("cargo::rerun-if-env-changed=MONOCORE_GUEST_DIR");
    println!("cargo::rustc-check-cfg=cfg(guest_present)");
    let dir = guest_dir();
    let files = [dir.join(kernel_name()), dir.join("initramfs.cpio")];
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    if files.iter().all(|file| file.is_file()) {
        println!("cargo::rustc-cfg=guest_present");
        println!("cargo::rustc-env=MONOCORE_GUEST_KERNEL={}", files[0].display());
        println!("cargo::rustc-env=MONOCORE_GUEST_KERNEL_ID={}", id(&files[0]));
        println!("cargo::rustc-env=MONOCORE_GUEST_KERNEL_NAME={}", kernel_name().trim_end_matches(".zst"));
        println!("cargo::rustc-env=MONOCORE_GUEST_INITRAMFS={}", files[1].display());
        println!("cargo::rustc-env=MONOCORE_GUEST_INITRAMFS_ID={}", id(&files[1]));
    }
}

/// What tells one file from another: 16 hexadecimal digits.
fn id(path: &Path) -> String {
    let content = std::fs::read(path).expect("the file was there a moment ago");
    Sha256::digest(content)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kernel_name() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => "Image.zst",
        _ => "vmlinux.zst",
    }
}

/// `MONOCORE_GUEST_DIR`, else the architecture's folder below the workspace's `target/guest`.
fn guest_dir() -> PathBuf {
    if let Some(dir) = env::var_os("MONOCORE_GUEST_DIR") {
        return PathBuf::from(dir);
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let manifest = Path::new(&manifest);
    manifest.parent().unwrap_or(manifest).join("target/guest").join(arch)
}
