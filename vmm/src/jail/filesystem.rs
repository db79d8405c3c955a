//! Landlock: no path is reachable but beneath the shares of the file device, and no TCP port at all, unless the machine has
//! a network stack, which connects to where its policy lets it.
//!
//! What Landlock once took from a thread nothing gives back. So where shares may be added later, the thread that serves them
//! is replaced by a new one, confined to the shares there are then.

use std::fs::File;
use std::os::fd::AsFd;

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

/// Opens what the shares name; says of each whether it is read-only.
pub(super) fn open_shares(shares: &[Share]) -> Result<Vec<(File, bool)>, JailError> {
    shares
        .iter()
        .map(|share| match files::open(&share.source) {
            Ok(file) => Ok((file, share.read_only)),
            Err(source) => Err(JailError::Share { name: share.name.clone(), source }),
        })
        .collect()
}

/// Leaves the calling thread, and those it starts from now on, what lies beneath the roots of `shares`.
///
/// # Errors
/// [`JailError::Landlock`] where the kernel has Landlock and refuses.
pub(super) fn restrict(shares: Vec<(impl AsFd, bool)>, connects: bool) -> Result<(), JailError> {
    let status = ruleset(shares, connects).map_err(|error| JailError::Landlock(error.to_string()))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        tracing::warn!("this kernel has no Landlock: seccomp alone keeps the machine from files");
    }
    Ok(())
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
        // Without it the oldest Landlock forbids every rename between directories.
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
