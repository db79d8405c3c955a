//! Arguments that several benchmarks have.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::moved;
use crate::msb::Msb;

/// What is measured.
#[derive(Debug, Args)]
pub struct Subject {
    /// The static monocore binary.
    #[arg(long)]
    pub monocore: PathBuf,
    /// The guest kernel, an uncompressed vmlinux.
    #[arg(long)]
    pub kernel: PathBuf,
}

impl Subject {
    /// Copies both to `work` and says where they are now.
    ///
    /// # Errors
    /// The file system's.
    pub fn moved(&self, work: &Path) -> Result<Self> {
        Ok(Self { monocore: moved::copy(&self.monocore, work)?, kernel: moved::copy(&self.kernel, work)? })
    }
}

/// microsandbox, left out when not given.
#[derive(Debug, Args)]
pub struct MsbFiles {
    /// microsandbox's `msb` binary; left out when not given.
    #[arg(long, requires = "libkrunfw")]
    msb: Option<PathBuf>,
    /// The libkrunfw library that belongs to it.
    #[arg(long)]
    libkrunfw: Option<PathBuf>,
}

impl MsbFiles {
    /// Copies it to `work`, if it was given.
    ///
    /// # Errors
    /// The file system's.
    pub fn moved(&self, work: &Path) -> Result<Option<Msb>> {
        let (Some(binary), Some(library)) = (&self.msb, &self.libkrunfw) else { return Ok(None) };
        Msb::new(binary, library, work).map(Some)
    }
}
