//! Takes the uncompressed kernel out of a distribution's bzImage: QEMU enters it by PVH, and inflating in emulation
//! takes seconds.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The ELF image inside `image`.
///
/// # Errors
/// If it is no bzImage, or compressed by something other than zstd, xz or gzip.
pub(crate) fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(image).context("this is no bzImage")?;
    let decompressor: &[&str] = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "-dcq"],
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => &["xz", "-dcq", "--single-stream"],
        [0x1f, 0x8b, ..] => &["gzip", "-dcq"],
        _ => bail!("the kernel is compressed in a way not known here"),
    };
    let elf = filter(decompressor, payload)?;
    ensure!(elf.starts_with(b"\x7fELF"), "the bzImage holds no ELF file");
    Ok(elf)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4)? != b"HdrS" {
        return None;
    }
    let sectors = match *image.get(SETUP_SECTS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(image, PAYLOAD_OFFSET)?;
    image.get(start..start.checked_add(word(image, PAYLOAD_LENGTH)?)?)
}

fn word(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

/// The payload ends with its length, which a decompressor may take for garbage: its output counts, not its status.
fn filter(program: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program[0]))?;
    let mut stdin = child.stdin.take().context("no pipe to the decompressor")?;
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        Ok(child.wait_with_output()?.stdout)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[SETUP_SECTS] = 1;
        image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH] = u8::try_from(payload.len()).unwrap();
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn the_payload_lies_where_the_header_says() {
        assert_eq!(payload(&image(b"abc")), Some(&b"abc"[..]));
        assert_eq!(payload(&image(b"abc")[..1041]), None);
        assert!(vmlinux(&image(b"abc")).is_err());
        assert!(vmlinux(b"short").is_err());
    }
}
