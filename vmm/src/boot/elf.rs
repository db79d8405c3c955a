//! The headers of an ELF kernel: its loadable segments and its PVH entry.
//!
//! The file may be anything: every number is checked before it is used.
//!
//! Source: ELF-64 Object File Format 1.5; Xen docs/misc/pvh.pandoc, XEN_ELFNOTE_PHYS32_ENTRY.

use std::fs::File;
use std::os::unix::fs::FileExt;

const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
/// Linux has about five.
const PROGRAM_HEADERS_MAX: usize = 64;
/// Linux has about 500 bytes of notes.
const NOTES_MAX_BYTES: usize = 64 << 10;
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const FLAG_WRITE: u32 = 2;
const NOTE_XEN_PHYS32_ENTRY: u32 = 18;

/// A range of the file that belongs into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) gpa: u64,
    pub(super) file_len: u64,
    /// With what is zero at its end.
    pub(super) memory_len: u64,
    pub(super) writable: bool,
}

/// What a loader needs to know of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) segments: Vec<Segment>,
    /// The PVH entry's physical address.
    pub(super) entry: u64,
}

/// Reads the headers of `file`.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn read(file: &File) -> Result<Headers, &'static str> {
    let header = read_at(file, 0, HEADER_LEN).ok_or("too short for an ELF header")?;
    let is_elf64 = header.starts_with(b"\x7fELF\x02\x01");
    if !is_elf64 || u16_at(&header, 18) != Some(MACHINE_X86_64) {
        return Err("not a 64-bit ELF file for x86_64 (an uncompressed vmlinux is needed, not a bzImage)");
    }
    let table = u64_at(&header, 32).ok_or("no program headers")?;
    let size = u16_at(&header, 54).map_or(0, usize::from);
    let count = u16_at(&header, 56).map_or(0, usize::from);
    if size != PROGRAM_HEADER_LEN || count == 0 || count > PROGRAM_HEADERS_MAX {
        return Err("strange program headers");
    }
    let table = read_at(file, table, size * count).ok_or("program headers beyond the file's end")?;
    let mut headers = Headers { segments: Vec::new(), entry: 0 };
    let mut entry = None;
    for raw in table.chunks_exact(size) {
        let (kind, segment) = program_header(raw).ok_or("strange program headers")?;
        match kind {
            PT_LOAD if segment.file_len > segment.memory_len => {
                return Err("a segment longer than its memory");
            }
            PT_LOAD => headers.segments.push(segment),
            PT_NOTE => entry = entry.or(pvh_entry(file, &segment)),
            _ => {}
        }
    }
    headers.entry = entry.ok_or("no PVH entry (CONFIG_PVH is off)")?.into();
    Ok(headers)
}

fn program_header(raw: &[u8]) -> Option<(u32, Segment)> {
    let segment = Segment {
        offset: u64_at(raw, 8)?,
        gpa: u64_at(raw, 24)?,
        file_len: u64_at(raw, 32)?,
        memory_len: u64_at(raw, 40)?,
        writable: u32_at(raw, 4)? & FLAG_WRITE != 0,
    };
    Some((u32_at(raw, 0)?, segment))
}

/// Finds the note (name length, description length, type, name, description, each padded to 4 bytes).
fn pvh_entry(file: &File, notes: &Segment) -> Option<u32> {
    let len = usize::try_from(notes.file_len).ok().filter(|len| *len <= NOTES_MAX_BYTES)?;
    let bytes = read_at(file, notes.offset, len)?;
    let mut rest = &bytes[..];
    while rest.len() >= 12 {
        let name_len = usize::try_from(u32_at(rest, 0)?).ok()?;
        let description_len = usize::try_from(u32_at(rest, 4)?).ok()?;
        let kind = u32_at(rest, 8)?;
        let description = name_len.checked_next_multiple_of(4)?.checked_add(12)?;
        let end = description.checked_add(description_len.checked_next_multiple_of(4)?)?;
        let name = rest.get(12..name_len.checked_add(12)?)?;
        if kind == NOTE_XEN_PHYS32_ENTRY && name.starts_with(b"Xen") {
            return u32_at(rest, description);
        }
        rest = rest.get(end..)?;
    }
    None
}

fn read_at(file: &File, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "elf_tests.rs"]
pub(super) mod tests;
