//! What several fuzz targets share.

pub mod archive;
pub mod image;
pub mod sparse;
