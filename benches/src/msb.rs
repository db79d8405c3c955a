//! microsandbox's `msb`, copied with its library to where opening them costs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::moved;

/// The program and its state directory.
#[derive(Debug)]
pub struct Msb {
    binary: PathBuf,
    library: PathBuf,
    home: PathBuf,
}

impl Msb {
    /// Copies `binary` and the libkrunfw `library` that belongs to it to `work`.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(binary: &Path, library: &Path, work: &Path) -> Result<Self> {
        Ok(Self {
            binary: moved::copy(binary, work)?,
            library: moved::copy(library, work)?,
            home: work.join("msb-home"),
        })
    }

    /// Its program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its state directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `msb`, to be told what to do.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("MSB_HOME", &self.home)
            .env("MSB_PATH", &self.binary)
            .env("MSB_LIBKRUNFW_PATH", &self.library)
            .env("HOME", &self.home);
        command
    }
}
