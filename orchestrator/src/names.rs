//! `names/<name>`: a symbolic link to the id of the sandbox that has the name.
//!
//! Finding a sandbox by its name reads one link, however many sandboxes there are. A link whose sandbox is gone counts
//! as free. Links are made and replaced under the registry's lock only.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;

use crate::home::make_private_dir;
use crate::id::SandboxId;
use crate::{Error, Home};

/// The id that `name` leads to, whether or not that sandbox still exists.
pub(crate) fn look_up(home: &Home, name: &str) -> Option<SandboxId> {
    // Names never hold a slash; anything else that does is no name.
    let link = std::fs::read_link(home.names().join(crate::spec::parse_name(name).ok()?)).ok()?;
    SandboxId::parse(link.to_str()?)
}

/// Gives `name` to `id`; whoever had it before has it no more.
///
/// # Errors
/// The link cannot be made.
pub(crate) fn assign(home: &Home, name: &str, id: &SandboxId) -> Result<(), Error> {
    let path = home.names().join(name);
    release(home, name)?;
    match symlink(id.as_str(), &path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_private_dir(&home.names())?;
            symlink(id.as_str(), &path).map_err(Error::file("create", &path))
        }
        other => other.map_err(Error::file("create", &path)),
    }
}

/// Frees `name`.
///
/// # Errors
/// The link cannot be removed.
pub(crate) fn release(home: &Home, name: &str) -> Result<(), Error> {
    let path = home.names().join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// Frees the names that no sandbox has: a process was killed between a sandbox and its name. `has` says whether a sandbox has a
/// name, by its id. The caller holds the registry's lock.
pub(crate) fn sweep(home: &Home, has: impl Fn(&str, &str) -> bool) {
    for entry in std::fs::read_dir(home.names()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let link = std::fs::read_link(entry.path());
        let is_owned =
            link.is_ok_and(|id| id.to_str().zip(name.to_str()).is_some_and(|(id, name)| has(name, id)));
        if !is_owned && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a name without a sandbox stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_last_id_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let (first, _) = SandboxId::generate().unwrap();
        let (second, _) = SandboxId::generate().unwrap();
        assert_eq!(look_up(&home, "web"), None);
        assign(&home, "web", &first).unwrap();
        assert_eq!(look_up(&home, "web"), Some(first));
        assign(&home, "web", &second).unwrap();
        assert_eq!(look_up(&home, "web"), Some(second));
        release(&home, "web").unwrap();
        release(&home, "web").unwrap();
        assert_eq!(look_up(&home, "web"), None);
    }

    #[test]
    fn a_path_is_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        make_private_dir(&home.names()).unwrap();
        symlink("0123456789ab", dir.path().join("outside")).unwrap();
        assert_eq!(look_up(&home, "../outside"), None);
        symlink("../../etc", home.names().join("odd")).unwrap();
        assert_eq!(look_up(&home, "odd"), None);
    }

    #[test]
    fn a_name_without_a_sandbox_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        sweep(&home, |_, _| false);
        let (first, _) = SandboxId::generate().unwrap();
        let (second, _) = SandboxId::generate().unwrap();
        assign(&home, "web", &first).unwrap();
        assign(&home, "db", &second).unwrap();
        // It has another name by now.
        assign(&home, "old", &first).unwrap();
        sweep(&home, |name, id| (name, id) == ("web", first.as_str()));
        assert_eq!((look_up(&home, "web"), look_up(&home, "db")), (Some(first), None));
        assert_eq!(std::fs::read_dir(home.names()).unwrap().count(), 1);
    }
}
