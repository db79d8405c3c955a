//! Ways to parsers that nothing but a fuzz target needs from outside.

use std::io::{self, BufRead, Read};

use crate::manifest::{Descriptor, Index};
use crate::platform::Platform;
use crate::{ImageConfig, archive, config, layer, registry};

/// The entry of an index for a platform.
pub fn choose<'i>(index: &'i Index, platform: &Platform) -> Option<&'i Descriptor> {
    index.choose(platform)
}

/// What an image's configuration says, if it can be read and belongs to so many layers.
pub fn config(raw: &[u8], layers: usize) -> Option<ImageConfig> {
    config::ConfigDocument::parse(raw, layers).ok().map(|document| document.config)
}

/// How many challenges of a header are understood.
pub fn challenges(header: &str) -> usize {
    registry::challenges(header)
}

/// Looks for a registry's credentials in Docker's `config.json`; whether there are any. No helper is run.
pub fn credentials(raw: &[u8], registry: &str) -> bool {
    registry::has_credentials(raw, registry)
}

/// The token in a token server's answer.
pub fn token(raw: &[u8]) -> Option<String> {
    registry::token(raw)
}

/// Reads Docker's `manifest.json`.
pub fn saved(raw: &[u8]) {
    archive::read_saved(raw);
}

/// The uncompressed stream of a layer.
///
/// # Errors
/// Those of `input`.
pub fn inflate<R: BufRead>(input: R) -> io::Result<impl Read> {
    layer::Inflate::new(input)
}
