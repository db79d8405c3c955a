//! Named volumes: `volumes/<name>/_data`, a directory that outlives its sandboxes.

use std::path::PathBuf;

use crate::Error;
use crate::home::{Home, make_private_dir};

/// The directory of the volume `name`, made if need be. The name was checked by `spec::parse_name`.
///
/// # Errors
/// It cannot be made.
pub(crate) fn directory(home: &Home, name: &str) -> Result<PathBuf, Error> {
    let volume = home.volumes().join(name);
    make_private_dir(&volume)?;
    let data = volume.join("_data");
    match std::fs::create_dir(&data) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::file("create", &data)(source))
        }
        _ => Ok(data),
    }
}

/// Removes the volume `name` with its content; one that does not exist counts as removed.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn remove(home: &Home, name: &str) -> Result<(), Error> {
    let volume = home.volumes().join(name);
    match std::fs::remove_dir_all(&volume) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", &volume)(source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let data = directory(&home, "data").unwrap();
        std::fs::write(data.join("kept"), "x").unwrap();
        assert!(directory(&home, "data").unwrap().join("kept").exists());
    }
}
