//! Landlock: no path is reachable except beneath the shares of the file device, and no TCP port unless the machine has a
//! network stack.
//!
//! Landlock restrictions cannot be lifted. So where shares may be added later, the thread that serves them is replaced by a new
//! one, confined to the shares there are then.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use monocore_spec::{JailMode, Share};

use super::JailError;
use crate::{files, sys};

/// The newest interface this was written against; older kernels enforce what they know.
const NEWEST: ABI = ABI::V6;

/// What a jail needs of Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LandlockNeed {
    /// The version of its interface.
    pub version: u32,
    /// The first Linux with that version.
    pub linux: &'static str,
    /// What is unprotected without it.
    pub risk: &'static str,
}

/// What each machine needs.
pub const NEED_OF_ALL: LandlockNeed = LandlockNeed {
    version: 1,
    linux: "5.13",
    risk: "nothing but seccomp would keep a machine's process from this machine's files",
};
/// What a machine with shares needs. The first version denies every rename between directories, so it is not used there.
pub const NEED_OF_SHARES: LandlockNeed = LandlockNeed {
    version: 2,
    linux: "5.19",
    risk: "a file server that a guest took over could reach files outside the shares",
};
/// What a machine with read-only shares needs. Older versions let a file be emptied that may only be read.
pub const NEED_OF_READ_ONLY: LandlockNeed = LandlockNeed {
    version: 3,
    linux: "6.2",
    risk: "a file server that a guest took over could empty files of read-only shares",
};

/// The version of this kernel's Landlock; 0 where it has none, or has it turned off.
pub fn landlock_version() -> u32 {
    sys::landlock_version()
}

/// What a machine with `shares` needs, if it `grows` or not.
pub(super) fn need(shares: &[impl SharedRoot], grows: bool) -> LandlockNeed {
    if grows || shares.iter().any(SharedRoot::is_read_only) {
        NEED_OF_READ_ONLY
    } else if shares.is_empty() {
        NEED_OF_ALL
    } else {
        NEED_OF_SHARES
    }
}

/// A share, as far as its protection goes.
pub(super) trait SharedRoot {
    /// The guest must not write to it.
    fn is_read_only(&self) -> bool;
}

impl SharedRoot for Share {
    fn is_read_only(&self) -> bool {
        self.read_only
    }
}

impl<F> SharedRoot for (F, bool) {
    fn is_read_only(&self) -> bool {
        self.1
    }
}

/// Says whether a kernel with `version` of Landlock may run what needs `need`.
///
/// # Errors
/// [`JailError::LandlockVersion`] under [`JailMode::Strict`].
pub(super) fn check(version: u32, need: LandlockNeed, mode: JailMode) -> Result<(), JailError> {
    let missing = JailError::LandlockVersion { version, need };
    match mode {
        _ if version >= need.version => Ok(()),
        JailMode::Strict => Err(missing),
        JailMode::BestEffort => {
            tracing::warn!("the jail has a gap, as --jail best-effort allows: {missing}");
            Ok(())
        }
    }
}

/// Opens what the shares name; says of each whether it is read-only.
pub(super) fn open_shares(shares: &[Share]) -> Result<Vec<(OwnedFd, bool)>, JailError> {
    shares
        .iter()
        .map(|share| match files::open(&share.source) {
            Ok(file) => Ok((file.into(), share.read_only)),
            Err(source) => Err(JailError::Share { name: share.name.clone(), source }),
        })
        .collect()
}

/// Leaves the calling thread, and those it starts from now on, what lies beneath the roots of `shares`.
///
/// # Errors
/// [`JailError::Landlock`] where the kernel refuses; under [`JailMode::Strict`] also where it enforces nothing.
pub(super) fn restrict(
    shares: Vec<(impl AsFd, bool)>,
    connects: bool,
    mode: JailMode,
) -> Result<(), JailError> {
    let status = ruleset(shares, connects).map_err(|error| JailError::Landlock(error.to_string()))?;
    if status.ruleset == RulesetStatus::NotEnforced && mode == JailMode::Strict {
        return Err(JailError::Landlock("the kernel enforces nothing of it".into()));
    }
    Ok(())
}

/// Leaves the calling process the right to remove the socket at `path`, and no other on any file. Connecting to a Unix socket is
/// none of these rights. A kernel without Landlock leaves the broker to seccomp.
///
/// # Errors
/// [`JailError::Landlock`] where the kernel refuses.
pub(super) fn restrict_broker(path: &Path) -> Result<(), JailError> {
    let error = |error: &dyn std::error::Error| JailError::Landlock(error.to_string());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = PathFd::new(folder).map_err(|e| error(&e))?;
    let confine = || {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
        let ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?.scope(Scope::from_all(NEWEST))?;
        ruleset.create()?.add_rule(PathBeneath::new(folder, AccessFs::RemoveFile))?.restrict_self()
    };
    confine().map(drop).map_err(|e: landlock::RulesetError| error(&e))
}

fn ruleset(
    shares: Vec<(impl AsFd, bool)>,
    connects: bool,
) -> Result<RestrictionStatus, landlock::RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(if connects { AccessNet::BindTcp.into() } else { AccessNet::from_all(NEWEST) })?
        .scope(Scope::from_all(NEWEST))?;
    if !shares.is_empty() {
        // The first version of Landlock denies every rename between directories; rather none than that.
        ruleset = ruleset.set_compatibility(CompatLevel::SoftRequirement).handle_access(AccessFs::Refer)?;
        ruleset = ruleset.set_compatibility(CompatLevel::BestEffort);
    }
    let mut created = ruleset.create()?;
    for (root, read_only) in shares {
        let access = if read_only { AccessFs::from_read(NEWEST) } else { AccessFs::from_all(NEWEST) };
        created = created.add_rule(PathBeneath::new(root, access))?;
    }
    created.restrict_self()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_needs_what_its_shares_need() {
        let shares = |read_only: &[bool]| read_only.iter().map(|ro| ((), *ro)).collect::<Vec<_>>();
        assert_eq!(need(&shares(&[]), false), NEED_OF_ALL);
        assert_eq!(need(&shares(&[]), true), NEED_OF_READ_ONLY);
        assert_eq!(need(&shares(&[false]), false), NEED_OF_SHARES);
        assert_eq!(need(&shares(&[false, true]), false), NEED_OF_READ_ONLY);
    }

    #[test]
    fn an_old_kernel_is_refused_unless_the_best_effort_is_enough() {
        for need in [NEED_OF_ALL, NEED_OF_SHARES, NEED_OF_READ_ONLY] {
            let refused = check(need.version - 1, need, JailMode::Strict).unwrap_err().to_string();
            assert!(refused.contains(need.linux) && refused.contains("--jail best-effort"), "{refused}");
            assert!(check(need.version - 1, need, JailMode::BestEffort).is_ok());
            assert!(check(need.version, need, JailMode::Strict).is_ok());
        }
    }
}
