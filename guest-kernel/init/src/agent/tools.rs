//! What the agent does in a command's place: see [`Tool`].

mod changes;
mod list;
mod processes;

use std::ffi::OsStr;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use monocore_archive::{PackOptions, Placement, UnpackOptions, pack, unpack};
use monocore_protocol::{ByteString, Tool, ToolPlacement};

use crate::error::Error;
use crate::setup::System;

const BUFFER_BYTES: usize = 128 << 10;

/// The overlay's layers, for a tool that compares them.
#[derive(Debug, Default)]
pub(crate) struct Layers(Option<(OwnedFd, OwnedFd)>);

impl Layers {
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().flat_map(|(upper, lower)| [upper.as_fd(), lower.as_fd()]).collect()
    }
}

/// Opens what `tool` needs of the set-up.
pub(crate) fn layers(tool: &Tool, system: &System) -> Result<Layers, Error> {
    match tool {
        Tool::Changes => system.scratch.layers().map(|layers| Layers(Some(layers))),
        Tool::Pack { .. } | Tool::Unpack { .. } | Tool::Processes | Tool::List { .. } => {
            Ok(Layers::default())
        }
    }
}

/// Does the work of `tool`; its exit code.
pub(crate) fn run(tool: &Tool, layers: &Layers) -> u8 {
    match work(tool, layers) {
        Ok(()) => 0,
        Err(error) => {
            say(&error.to_string());
            1
        }
    }
}

fn work(tool: &Tool, layers: &Layers) -> io::Result<()> {
    let mut warn = |text: String| say(&format!("warning: {text}"));
    match tool {
        Tool::Pack { path, name, follow } => {
            let options = PackOptions { name: name.as_bytes(), follow: *follow };
            let out = BufWriter::with_capacity(BUFFER_BYTES, Stdout);
            pack(as_path(path), options, out, &mut warn).map(drop)
        }
        Tool::Unpack { path, placement, owners } => {
            let placement = match placement {
                ToolPlacement::Into => Placement::Into,
                ToolPlacement::Copy { name, contents } => {
                    Placement::Copy { name: name.as_bytes(), contents: *contents }
                }
            };
            let options = UnpackOptions { placement, owners: *owners, is_own: true };
            let input = BufReader::with_capacity(BUFFER_BYTES, Stdin);
            unpack(input, as_path(path), options, &mut warn).map(drop)
        }
        Tool::Changes => match &layers.0 {
            Some((upper, lower)) => changes::write(upper, lower, BufWriter::new(Stdout)),
            None => Err(io::Error::other("the root is not an image's")),
        },
        Tool::Processes => processes::write(BufWriter::new(Stdout)),
        Tool::List { path, most } => list::write(as_path(path), *most, BufWriter::new(Stdout)),
    }
}

fn as_path(path: &ByteString) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

fn say(text: &str) {
    // If nobody reads it, nobody is left to tell.
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
}

/// Standard input without the lock and buffer of the standard library's.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// Standard output likewise.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
