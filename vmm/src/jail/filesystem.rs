//! Landlock: no path is reachable but beneath the shares of the file device, and no TCP port at all.
//!
//! The shares a machine begins with are the only ones it can have while jailed: a directory handed over later lies outside.

use std::fs::File;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use monocore_spec::Share;

use super::JailError;
use crate::files;

/// The newest interface this was written against; older kernels enforce what they know.
const NEWEST: ABI = ABI::V6;

/// Whether this kernel has Landlock, for diagnosis.
pub fn has_landlock() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let handled = ruleset.handle_access(AccessFs::from_all(ABI::V1));
    handled.and_then(Ruleset::create).is_ok()
}

/// A share's directory or file.
pub(super) struct OpenShare {
    file: File,
    read_only: bool,
}

/// Opens what the shares name.
pub(super) fn open_shares(shares: &[Share]) -> Result<Vec<OpenShare>, JailError> {
    shares
        .iter()
        .map(|share| match files::open(&share.source) {
            Ok(file) => Ok(OpenShare { file, read_only: share.read_only }),
            Err(source) => Err(JailError::Share { name: share.name.clone(), source }),
        })
        .collect()
}

/// Restricts the calling thread.
///
/// # Errors
/// [`JailError::Landlock`] where the kernel has Landlock and refuses.
pub(super) fn restrict(shares: Vec<OpenShare>) -> Result<(), JailError> {
    let status = ruleset(shares).map_err(|error| JailError::Landlock(error.to_string()))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        tracing::warn!("this kernel has no Landlock: seccomp alone keeps the machine from files");
    }
    Ok(())
}

fn ruleset(shares: Vec<OpenShare>) -> Result<RestrictionStatus, landlock::RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    if !shares.is_empty() {
        // Without it the oldest Landlock forbids every rename between directories.
        ruleset = ruleset.set_compatibility(CompatLevel::SoftRequirement).handle_access(AccessFs::Refer)?;
        ruleset = ruleset.set_compatibility(CompatLevel::BestEffort);
    }
    let mut created = ruleset.create()?;
    for share in shares {
        let access = if share.read_only { AccessFs::from_read(NEWEST) } else { AccessFs::from_all(NEWEST) };
        created = created.add_rule(PathBeneath::new(share.file, access))?;
    }
    created.restrict_self()
}
