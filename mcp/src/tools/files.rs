//! Files of a sandbox by their content, whether it runs or not.

use std::fs::File;
use std::io::{BufReader, Write};
use std::os::fd::OwnedFd;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use monocore_archive::{ArchiveLimits, Member, TarReader, Type};
use monocore_orchestrator::copy::{Copier, Source};
use monocore_orchestrator::tool_output;
use monocore_protocol::{LIST_FIELDS, Tool};
use rustix::pipe::{PipeFlags, pipe_with};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Kind, McpTool};
use crate::context::Context;
use crate::error::ToolError;
use crate::work::{Call, Interrupt};

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "read_file",
            "Read a file of a sandbox",
            Kind::Reads,
            "Reads a file of a sandbox, running or stopped, from `offset` on and at most max_bytes. Text comes as text, \
             anything else as base64. If there is more, the result says at which offset to go on.",
            read_file,
        ),
        McpTool::new(
            "write_file",
            "Write a file in a sandbox",
            Kind::Destroys,
            "Writes a file in a sandbox, running or stopped: replaces it whole and makes missing directories. It belongs to \
             root. Large or many files are better uploaded from the host with upload.",
            write_file,
        ),
        McpTool::new(
            "list_directory",
            "List a directory of a sandbox",
            Kind::Reads,
            "Lists a directory of a sandbox, running or stopped, by name: type (f file, d directory, l link, o other), mode, \
             size in bytes, time of the last change, name and a link's target.",
            list_directory,
        ),
    ]
}

/// A path of a sandbox.
pub(super) fn guest_path(path: &str) -> Result<(), ToolError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(ToolError::value("path", "give an absolute path in the sandbox"));
    }
    Ok(())
}

/// Copies for one call, which end with it.
pub(super) fn copying<T>(
    context: &Context,
    interrupt: &Interrupt,
    sandbox: &str,
    copy: impl FnOnce(&Copier<'_>) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    let entry = context.find(sandbox)?;
    let signals = interrupt.signals()?;
    let copier = Copier { launcher: &context.host.launcher, entry: &entry, signals: &signals, owners: false };
    let done = copy(&copier);
    if interrupt.has_come() {
        return Err(ToolError::new("the time is up or the call was cancelled; the copy is not complete"));
    }
    done
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// The file, absolute
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// Bytes passed over at the beginning
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_099_511_627_776_u64))]
    offset: u64,
    /// Bytes read
    #[schemars(range(min = 1, max = 16_777_216))]
    max_bytes: Option<usize>,
}

async fn read_file(call: Call, wanted: Read) -> Result<String, ToolError> {
    guest_path(&wanted.path)?;
    let most = call.output(wanted.max_bytes)?;
    let work = move |context: &Context, interrupt: &Interrupt| {
        copying(context, interrupt, &wanted.sandbox, |copier| {
            let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
            let source = Source::new(wanted.path.as_bytes(), true);
            std::thread::scope(|scope| {
                let sender = scope.spawn(move || copier.archive_out(&source, writes));
                // The reader's end closes when enough has come, and the sender ends by that.
                let part = read_part(reads, wanted.offset, most);
                let sent = sender.join().map_err(|_| ToolError::new("a worker failed"))?;
                match part {
                    Ok(part) => Ok(part),
                    // The guest's reason counts more than that nothing came.
                    Err(error) => Err(sent.err().map_or(error, |error| ToolError::from(error))),
                }
            })
        })
    };
    let part = call.blocking(None, work).await?;
    Ok(part.show(wanted.offset))
}

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    bytes: Vec<u8>,
    size: u64,
}

impl Part {
    fn show(&self, offset: u64) -> String {
        let text = std::str::from_utf8(&self.bytes);
        // A character that was cut at the end belongs to the next part.
        let (bytes, text) = match text {
            Ok(text) => (self.bytes.as_slice(), Some(text)),
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
                let whole = &self.bytes[..error.valid_up_to()];
                (whole, std::str::from_utf8(whole).ok())
            }
            Err(_) => (self.bytes.as_slice(), None),
        };
        let end = offset + bytes.len() as u64;
        let mut shown = text.map_or_else(|| format!("base64:{}", STANDARD.encode(bytes)), str::to_owned);
        if end < self.size || (offset > 0 && bytes.is_empty()) {
            let more = if end < self.size { format!("; go on with offset {end}") } else { String::new() };
            shown.push_str(&format!("\n--- cut\nbytes {offset} to {end} of {}{more}", self.size));
        } else if shown.is_empty() {
            "(the file is empty)".clone_into(&mut shown);
        }
        shown
    }
}

/// Reads a part of the one file that the archive has.
fn read_part(archive: OwnedFd, offset: u64, most: usize) -> Result<Part, ToolError> {
    let broken = |error: monocore_archive::Error| ToolError::new(error.to_string());
    let mut reader = TarReader::new(BufReader::new(File::from(archive)), ArchiveLimits::default());
    let member = reader.next_member().map_err(broken)?;
    let member = member.ok_or_else(|| ToolError::new("the sandbox sent nothing"))?;
    match member.typ {
        Type::File => {}
        Type::Directory => {
            return Err(ToolError::value("path", "it is a directory: use list_directory or download"));
        }
        _ => return Err(ToolError::value("path", "it is not a regular file")),
    }
    let rest = member.size.saturating_sub(offset);
    let length = usize::try_from(rest).unwrap_or(usize::MAX).min(most);
    // Holes are zeros.
    let mut bytes = vec![0; length];
    for (begin, run) in runs(&member) {
        let mut at = begin;
        while at < begin.saturating_add(run) {
            if at >= offset.saturating_add(length as u64) {
                return Ok(Part { bytes, size: member.size });
            }
            let ready = reader.content().map_err(broken)?;
            let count = ready.len().min(usize::try_from(begin + run - at).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(ToolError::new("the sandbox sent less than the file has"));
            }
            place(&mut bytes, offset, at, &ready[..count]);
            reader.consume(count).map_err(broken)?;
            at += count as u64;
        }
    }
    Ok(Part { bytes, size: member.size })
}

/// Where the content that follows belongs: offsets and lengths, ascending.
fn runs(member: &Member) -> Vec<(u64, u64)> {
    match &member.segments {
        None => vec![(0, member.size)],
        Some(segments) => segments.iter().map(|segment| (segment.offset, segment.bytes)).collect(),
    }
}

/// Copies what of `content`, which begins at `at` in the file, belongs to the part that begins at `offset`.
fn place(part: &mut [u8], offset: u64, at: u64, content: &[u8]) {
    let skip = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
    let Some(content) = content.get(skip..) else { return };
    let Ok(start) = usize::try_from(at.saturating_sub(offset)) else { return };
    let Some(room) = part.get_mut(start..) else { return };
    let count = room.len().min(content.len());
    room[..count].copy_from_slice(&content[..count]);
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteFile {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// The file, absolute
    #[schemars(length(min = 2, max = 4096))]
    path: String,
    /// Its content
    #[schemars(length(max = 786_432))]
    content: String,
    /// How content is given
    #[serde(default)]
    encoding: Encoding,
    /// Its mode in octal, such as 755; default 644
    #[schemars(length(min = 3, max = 4))]
    mode: Option<String>,
}

/// How content is given.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Text,
    Base64,
}

async fn write_file(call: Call, wanted: WriteFile) -> Result<String, ToolError> {
    guest_path(&wanted.path)?;
    let content = match wanted.encoding {
        Encoding::Text => wanted.content.into_bytes(),
        Encoding::Base64 => {
            STANDARD.decode(wanted.content).map_err(|error| ToolError::value("content", error))?
        }
    };
    let mode = wanted.mode.as_deref().map(|mode| u32::from_str_radix(mode, 8)).transpose();
    let mode = mode.map_err(|_| ToolError::value("mode", "give octal digits, such as 755"))?.unwrap_or(0o644);
    let archive = archive(&wanted.path, mode, &content)?;
    let bytes = content.len();
    let path = wanted.path.clone();
    let work = move |context: &Context, interrupt: &Interrupt| {
        copying(context, interrupt, &wanted.sandbox, |copier| {
            let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    // If it cannot be written, the receiver says why.
                    let _ = File::from(writes).write_all(&archive);
                });
                Ok(copier.archive_in(reads, b"/")?)
            })
        })
    };
    call.blocking(None, work).await?;
    Ok(format!("{bytes} bytes written to {path}"))
}

/// An archive with one file.
fn archive(path: &str, mode: u32, content: &[u8]) -> Result<Vec<u8>, ToolError> {
    let name = path.trim_start_matches('/');
    if name.is_empty() || name.ends_with('/') || name.split('/').any(|part| part == "..") {
        return Err(ToolError::value("path", "name a file, without .."));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode & 0o7777);
    header.set_mtime(now.as_secs());
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, content)?;
    Ok(builder.into_inner()?)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// The directory, absolute
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// Entries shown; default 200
    #[schemars(range(min = 1, max = 5_000))]
    max_entries: Option<u32>,
}

async fn list_directory(call: Call, wanted: List) -> Result<String, ToolError> {
    guest_path(&wanted.path)?;
    let most = wanted.max_entries.unwrap_or(200);
    let work = move |context: &Context, interrupt: &Interrupt| {
        copying(context, interrupt, &wanted.sandbox, |copier| {
            let tool = Tool::List { path: wanted.path.as_bytes().into(), most };
            let told = tool_output(copier.launcher, copier.entry, tool, copier.signals)?;
            Ok(listing(&told, most))
        })
    };
    call.blocking(None, work).await
}

/// Reads what the guest says. Its bytes control no terminal and make no lines of their own.
fn listing(told: &[u8], most: u32) -> String {
    let mut fields = told.split(|byte| *byte == 0).map(|field| {
        let text = String::from_utf8_lossy(field).into_owned();
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>()
    });
    let count: u64 = fields.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let fields: Vec<String> = fields.collect();
    let mut shown = String::new();
    let entries = fields.chunks_exact(LIST_FIELDS.len()).take(usize::try_from(most).unwrap_or(usize::MAX));
    let mut listed = 0;
    for entry in entries {
        let [kind, mode, size, time, name, link] = entry else { continue };
        let time = time.parse().unwrap_or(0);
        let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(time));
        let time = time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string());
        let arrow = if link.is_empty() { "" } else { " -> " };
        shown.push_str(&format!("{kind} {mode} {size} {time} {name}{arrow}{link}\n"));
        listed += 1;
    }
    match count {
        0 => "(the directory is empty)".clone_into(&mut shown),
        count if count > listed => {
            shown.push_str(&format!("--- cut\n{listed} of {count} entries; give a larger max_entries"));
        }
        _ => {}
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part_of(archive: &[u8], offset: u64, most: usize) -> Result<Part, String> {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(File::from(writes).write_all(archive)));
            read_part(reads, offset, most).map_err(|error| error.0)
        })
    }

    #[test]
    fn a_part_of_a_file_is_read() {
        let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let archive = archive("/a/b", 0o600, &content).unwrap();
        for (offset, most) in
            [(0, 10), (0, 400_000), (299_999, 5), (150_000, 70_000), (300_000, 5), (400_000, 5)]
        {
            let part = part_of(&archive, offset, most).unwrap();
            let begin = content.len().min(usize::try_from(offset).unwrap());
            let end = content.len().min(begin + most);
            assert!(part.bytes == content[begin..end] && part.size == 300_000, "{offset} {most}");
        }
        assert!(part_of(&archive[..1000], 0, 400_000).unwrap_err().contains("ends within a file"));
        assert!(part_of(b"", 0, 1).unwrap_err().contains("nothing"));
        assert!(part_of(&[7; 600], 0, 1).is_err());
    }

    #[test]
    fn a_part_says_how_to_go_on() {
        let show = |bytes: &[u8], size, offset| Part { bytes: bytes.to_vec(), size }.show(offset);
        assert_eq!(show(b"all", 3, 0), "all");
        assert_eq!(show(b"", 0, 0), "(the file is empty)");
        assert_eq!(show(b"ab", 5, 1), "ab\n--- cut\nbytes 1 to 3 of 5; go on with offset 3");
        assert_eq!(
            show("aé".as_bytes().split_at(2).0, 3, 0),
            "a\n--- cut\nbytes 0 to 1 of 3; go on with offset 1"
        );
        assert_eq!(show(&[0xff, 0xfe], 2, 0), "base64://4=");
        assert_eq!(show(b"", 5, 9), "\n--- cut\nbytes 9 to 9 of 5");
    }

    #[test]
    fn a_file_is_named_without_ways_out() {
        assert!(archive("/a", 0o644, b"").is_ok());
        for bad in ["/", "/a/", "/a/../b", "//"] {
            assert!(archive(bad, 0o644, b"").is_err(), "{bad}");
        }
    }

    #[test]
    fn listings_are_one_entry_a_line() {
        let told = b"3\0f\0644\012\00\0a\nb\0\0l\0777\01\060\0c\0d\0";
        assert_eq!(
            listing(told, 9),
            "f 644 12 1970-01-01T00:00:00Z a?b\nl 777 1 1970-01-01T00:01:00Z c -> d\n--- cut\n2 of 3 entries; give a \
             larger max_entries"
        );
        assert_eq!(listing(b"0\0", 9), "(the directory is empty)");
        assert_eq!(listing(b"", 9), "(the directory is empty)");
        assert_eq!(listing(b"1\0f\0", 9), "--- cut\n0 of 1 entries; give a larger max_entries");
    }
}
