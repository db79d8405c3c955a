//! What a guest boots: the kernel and init inside this binary, unpacked once, or a kernel of the user's.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Home, state};

/// Words of the kernel command line that a kernel without our patches needs to be heard and to end.
const FOREIGN_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 reboot=t";

/// What a guest boots, opened.
#[derive(Debug)]
pub(crate) struct BootFiles {
    pub(crate) kernel: File,
    pub(crate) initramfs: File,
    /// Words for the kernel command line.
    pub(crate) command_line: &'static str,
    /// The kernel is the user's: what it has to say comes over the serial port.
    pub(crate) foreign: bool,
}

impl BootFiles {
    /// Opens `kernel`, or else monocore's own, which is unpacked below `home` the first time.
    ///
    /// # Errors
    /// A file cannot be opened or written; this build holds no guest.
    pub(crate) fn open(home: &Home, kernel: Option<&Path>) -> Result<Self, Error> {
        let initramfs = open(&initramfs(home)?)?;
        match kernel {
            Some(path) => {
                Ok(Self { kernel: open(path)?, initramfs, command_line: FOREIGN_COMMAND_LINE, foreign: true })
            }
            None => {
                let path = monocore_guest::kernel()?.unpack(&home.kernel())?;
                Ok(Self { kernel: open(&path)?, initramfs, command_line: "", foreign: false })
            }
        }
    }
}

/// The path of the unpacked initramfs, named after what is in it.
fn initramfs(home: &Home) -> Result<PathBuf, Error> {
    let path = home.kernel().join(monocore_guest::initramfs_id()?).join("initramfs.cpio");
    match std::fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            state::write_whole(&path, monocore_guest::initramfs()?)?;
            Ok(path)
        }
        Err(error) => Err(Error::file("open", &path)(error)),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(Error::file("open", path))
}
