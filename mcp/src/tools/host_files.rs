//! Files between the host and a sandbox, below the policy's paths.

use std::fs::File;
use std::io::BufReader;

use monocore_archive::{Placement, UnpackOptions, unpack};
use monocore_orchestrator::copy::Source;
use monocore_orchestrator::record_shared;
use rustix::pipe::{PipeFlags, pipe_with};
use schemars::JsonSchema;
use serde::Deserialize;

use super::files::{copying, guest_path};
use super::{Kind, McpTool};
use crate::context::Context;
use crate::error::ToolError;
use crate::policy::HostPlace;
use crate::work::{Call, Interrupt};

/// Warnings of a copy that are shown.
const WARNINGS: usize = 8;

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "upload",
            "Copy from the host into a sandbox",
            Kind::Destroys,
            "Copies a file or directory of the host into a sandbox, running or stopped, without passing it through the \
             conversation. Only host paths that the server's policy allows can be read. Links are copied as links.",
            upload,
        ),
        McpTool::new(
            "download",
            "Copy from a sandbox to the host",
            Kind::Destroys,
            "Copies a file or directory of a sandbox, running or stopped, to the host, without passing it through the \
             conversation. Only host paths that the server's policy allows for writing can be written. Files there are \
             replaced, directories are merged.",
            download,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Copy {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// File or directory of the host, absolute
    #[schemars(length(min = 1, max = 4096))]
    host_path: String,
    /// File or directory in the sandbox, absolute. An existing directory as destination takes the source under its name
    #[schemars(length(min = 1, max = 4096))]
    path: String,
}

async fn upload(call: Call, wanted: Copy) -> Result<String, ToolError> {
    guest_path(&wanted.path)?;
    let shown = format!("{} copied to {} of sandbox {}", wanted.host_path, wanted.path, wanted.sandbox);
    let work = move |context: &Context, interrupt: &Interrupt| {
        let place = context.policy.readable("host_path", &wanted.host_path)?;
        copying(context, interrupt, &wanted.sandbox, |copier| {
            use std::os::unix::ffi::OsStrExt;
            let source = Source::new(place.path().as_os_str().as_bytes(), false);
            Ok(copier.to_guest(&source, wanted.path.as_bytes())?)
        })
    };
    let copied = call.blocking(None, work).await?;
    Ok(report(&shown, copied.bytes, &copied.warnings))
}

async fn download(call: Call, wanted: Copy) -> Result<String, ToolError> {
    guest_path(&wanted.path)?;
    let shown = format!("{} of sandbox {} copied to {}", wanted.path, wanted.sandbox, wanted.host_path);
    let work = move |context: &Context, interrupt: &Interrupt| {
        let (place, name) = destination(context, &wanted)?;
        record_shared(context.home(), &File::open(place.dir())?)?;
        copying(context, interrupt, &wanted.sandbox, |copier| {
            let (reads, writes) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
            let source = Source { name, ..Source::new(wanted.path.as_bytes(), true) };
            let source = Source { contents: false, ..source };
            std::thread::scope(|scope| {
                let unpacker = scope.spawn(|| {
                    let mut warnings = Vec::new();
                    let mut warn = |text: String| {
                        if warnings.len() < WARNINGS {
                            warnings.push(text.chars().filter(|c| !c.is_control()).collect());
                        }
                    };
                    // Whatever the guest sends, nothing outside of the directory is made or changed.
                    let options = UnpackOptions { placement: Placement::Into, owners: false, is_own: false };
                    let input = BufReader::new(File::from(reads));
                    let bytes = unpack(input, &place.dir(), options, &mut warn);
                    bytes.map(|bytes| (bytes, warnings))
                });
                let sent = copier.archive_out(&source, writes);
                let unpacked = unpacker.join().map_err(|_| ToolError::new("a worker failed"))?;
                sent?;
                Ok(unpacked?)
            })
        })
    };
    let (bytes, warnings) = call.blocking(None, work).await?;
    Ok(report(&shown, bytes, &warnings))
}

/// The directory to unpack into, and what the file or directory is called there.
fn destination(
    context: &Context,
    wanted: &Copy,
) -> Result<(HostPlace, monocore_protocol::ByteString), ToolError> {
    use std::os::unix::ffi::OsStrExt;
    let field = "host_path";
    if std::path::Path::new(&wanted.host_path).is_dir() {
        let name = Source::new(wanted.path.as_bytes(), true).name;
        if name.as_bytes().is_empty() {
            return Err(ToolError::value("path", "name a file or directory below /"));
        }
        // A directory is a place to write to by anything in it.
        let inside = format!("{}/.monocore", wanted.host_path.trim_end_matches('/'));
        return Ok((context.policy.writable(field, &inside)?, name));
    }
    let place = context.policy.writable(field, &wanted.host_path)?;
    let name = place.name.as_os_str().as_bytes().into();
    Ok((place, name))
}

fn report(shown: &str, bytes: u64, warnings: &[String]) -> String {
    let mut text = format!("{shown} ({bytes} bytes)");
    for warning in warnings.iter().take(WARNINGS) {
        text.push_str("\nwarning: ");
        text.push_str(warning);
    }
    text
}
