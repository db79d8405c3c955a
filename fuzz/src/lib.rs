//! What several fuzz targets share.

pub mod archive;
pub mod config;
pub mod image;
pub mod sparse;
