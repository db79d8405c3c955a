//! An image's metadata from its layers' trees.

use monocore_erofs::{Image, Tree};

use super::open_tree;
use crate::digest::Digest;
use crate::error::{Error, Result, at};
use crate::image::{LayerPart, PARTS_VERSION, Parts};
use crate::store::{Shared, TempFile};

/// Merges layers that are in the store into the image of a configuration, unless that is done. Blocks.
pub(crate) fn build(shared: &Shared, config: &Digest, diff_ids: &[Digest]) -> Result<()> {
    if is_built(shared, config)? {
        return Ok(());
    }
    let _lock = shared.paths.lock_content(config)?;
    if is_built(shared, config)? {
        return Ok(());
    }
    let mut tree = Tree::new(shared.limits.clone());
    let mut warnings = Vec::new();
    for diff_id in diff_ids {
        let mut log = open_tree(shared, diff_id)?;
        tree.apply(&mut log).map_err(|source| Error::Layer { layer: *diff_id, source })?;
        warnings.extend(log.summary().into_iter().flat_map(|summary| summary.warnings.iter().cloned()));
    }
    let whole = |source| Error::Layer { layer: *config, source };
    let image = Image::new(&tree).map_err(whole)?;
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&config.bytes()[..16]);
    let file = TempFile::new(&shared.paths)?;
    image.write(uuid, file.file()).map_err(|error| match error {
        monocore_erofs::Error::Io(source) => at("write", file.path())(source),
        source => whole(source),
    })?;
    file.commit(&shared.paths.image_metadata(config))?;
    let summary = image.summary();
    let layers = diff_ids.iter().zip(summary.layers);
    let parts = Parts {
        version: PARTS_VERSION,
        metadata_bytes: summary.metadata_bytes,
        inodes: summary.inodes,
        layers: layers
            .map(|(diff_id, (offset, bytes))| LayerPart { diff_id: *diff_id, offset, bytes })
            .collect(),
        warnings,
    };
    let raw = serde_json::to_vec(&parts)
        .map_err(|error| Error::Document { what: "converted image", reason: error.to_string() })?;
    shared.write_whole(&shared.paths.image_parts(config), &raw)
}

fn is_built(shared: &Shared, config: &Digest) -> Result<bool> {
    Ok(shared.parts(config)?.is_some() && shared.paths.image_metadata(config).exists())
}
