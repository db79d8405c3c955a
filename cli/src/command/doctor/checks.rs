//! What `doctor` looks at.

use std::path::Path;

use monocore_orchestrator::Home;
use monocore_orchestrator::spec::MAX_VCPUS;
use monocore_vmm::jail::{LandlockNeed, NEED_OF_ALL, NEED_OF_READ_ONLY, NEED_OF_SHARES, landlock_version};

use super::{Check, Verdict};
use crate::command::output;

/// Less free space than this deserves a word, bytes.
const LITTLE_SPACE: u64 = 2 << 30;

/// Every check, the most important first.
pub(super) fn all() -> Vec<Check> {
    vec![hypervisor(), guest(), state(), space(), landlock(landlock_version()), seccomp()]
}

fn check(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check { name, verdict, detail: detail.into() }
}

fn hypervisor() -> Check {
    match monocore_kvm::probe() {
        Ok(facts) => {
            let cpus = facts.max_vcpus.min(usize::from(MAX_VCPUS));
            check("kvm", Verdict::Good, format!("/dev/kvm, up to {cpus} CPUs a sandbox"))
        }
        Err(error) => check("kvm", Verdict::Bad, error.to_string()),
    }
}

fn guest() -> Check {
    match (monocore_guest::kernel(), monocore_guest::initramfs_id()) {
        (Ok(kernel), Ok(init)) => {
            check("guest", Verdict::Good, format!("kernel {}, init {init}", kernel.id()))
        }
        (Err(error), _) | (_, Err(error)) => check("guest", Verdict::Bad, error.to_string()),
    }
}

/// Whether the state directory can be made and written.
fn state() -> Check {
    let tried = Home::locate().map_err(anyhow::Error::from).and_then(|home| {
        home.create()?;
        let probe = home.root().join(format!(".doctor-{}", std::process::id()));
        std::fs::write(&probe, b"x")?;
        std::fs::remove_file(&probe)?;
        Ok(home.root().display().to_string())
    });
    match tried {
        Ok(path) => check("state directory", Verdict::Good, path),
        Err(error) => {
            let advice = "set MONOCORE_HOME to a directory that can be written";
            check("state directory", Verdict::Bad, format!("{error:#}: {advice}"))
        }
    }
}

fn space() -> Check {
    let free = Home::locate().ok().and_then(|home| free_bytes(home.root()));
    match free {
        None => check("disk space", Verdict::Warning, "cannot be told"),
        Some(free) if free < LITTLE_SPACE => {
            let detail = format!("{} free: `monocore prune` removes what nothing needs", output::size(free));
            check("disk space", Verdict::Warning, detail)
        }
        Some(free) => check("disk space", Verdict::Good, format!("{} free", output::size(free))),
    }
}

/// What an unprivileged user may still write to the file system of `path`, or of the nearest directory above it that is
/// there.
fn free_bytes(path: &Path) -> Option<u64> {
    let found = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// How far the Landlock of this kernel is enough; `run` refuses anything beyond.
fn landlock(version: u32) -> Check {
    let verdict = if version < NEED_OF_ALL.version { Verdict::Bad } else { Verdict::Warning };
    let missing = [
        ("sandboxes are refused", NEED_OF_ALL),
        ("sandboxes with shared directories (-v) are refused", NEED_OF_SHARES),
        ("sandboxes with read-only shares (-v …:ro) are refused", NEED_OF_READ_ONLY),
    ];
    let has = match version {
        0 => "this kernel has none, or has it turned off (lsm=)".to_owned(),
        version => format!("version {version}"),
    };
    match missing.into_iter().find(|(_, need)| version < need.version) {
        None => check("landlock", Verdict::Good, format!("{has}, confines a machine's process to its files")),
        Some((refused, need)) => {
            let LandlockNeed { version, linux, risk } = need;
            let advice = format!(
                "version {version} (Linux {linux}) is needed, else {risk}: {refused} unless `--jail best-effort` is given"
            );
            check("landlock", verdict, format!("{has}; {advice}"))
        }
    }
}

fn seccomp() -> Check {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "kill_process") {
        check("seccomp", Verdict::Good, "confines a machine's threads to the system calls they need")
    } else {
        let detail =
            "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER): sandboxes are not started without";
        check("seccomp", Verdict::Bad, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_says_something() {
        let checks = all();
        assert_eq!(checks.len(), 6);
        assert!(checks.iter().all(|check| !check.detail.is_empty()));
    }

    #[test]
    fn a_missing_or_old_landlock_is_told_with_what_it_means() {
        let found = |version| {
            let check = landlock(version);
            (check.verdict, check.detail)
        };
        let (verdict, detail) = found(0);
        assert!(verdict == Verdict::Bad && detail.contains("5.13"), "{detail}");
        for (version, linux) in [(1, "5.19"), (2, "6.2")] {
            let (verdict, detail) = found(version);
            assert!(verdict == Verdict::Warning && detail.contains(linux), "{detail}");
            assert!(detail.contains("-v") && detail.contains("--jail best-effort"), "{detail}");
        }
        assert_eq!(found(3).0, Verdict::Good);
    }

    #[test]
    fn space_is_told_for_a_directory_that_is_not_there_yet() {
        assert!(free_bytes(Path::new("/nonexistent/deep/home")).is_some());
    }
}
