//! Linux capabilities by the names of `--cap-add` and `--cap-drop` (capabilities(7)).

use super::ParseError;

/// Their names in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// A bit for each.
const ALL: u64 = (1 << NAMES.len()) - 1;

/// The bit of a capability, or those of all for `ALL`. `CAP_` may stand before the name, whose case does not count.
///
/// # Errors
/// No capability has the name.
pub fn parse_capability(text: &str) -> Result<u64, ParseError> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    if name == "ALL" {
        return Ok(ALL);
    }
    match NAMES.iter().position(|known| *known == name) {
        Some(number) => Ok(1 << number),
        None => Err(ParseError::new(text, "invalid capability: unknown capability")),
    }
}

/// The capabilities that are left when `drop` is taken from all of them and `add` is given; nothing for all.
///
/// In a sandbox the machine is the boundary, so a command has every capability unless some are dropped.
#[must_use]
pub fn capabilities(add: &[u64], drop: &[u64], privileged: bool) -> Option<u64> {
    let bits = |all: &[u64]| all.iter().fold(0, |bits, one| bits | one);
    let drops = if bits(drop) == ALL { ALL } else { bits(drop) & !bits(add) };
    let left = (ALL & !drops) | bits(add);
    (!privileged && left != ALL).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_docker() {
        assert_eq!(parse_capability("NET_ADMIN"), Ok(1 << 12));
        assert_eq!(parse_capability("cap_chown"), Ok(1));
        assert_eq!(parse_capability("CHECKPOINT_RESTORE"), Ok(1 << 40));
        assert_eq!(parse_capability("all"), Ok(ALL));
        assert!(parse_capability("NOPE").is_err());
    }

    #[test]
    fn what_is_added_stays_and_privileged_has_all() {
        let (chown, kill) = (1, 1 << 5);
        assert_eq!(capabilities(&[], &[], false), None);
        assert_eq!(capabilities(&[chown], &[ALL], false), Some(chown));
        assert_eq!(capabilities(&[], &[chown, kill], false), Some(ALL & !chown & !kill));
        assert_eq!(capabilities(&[chown], &[chown], false), None);
        assert_eq!(capabilities(&[], &[ALL], true), None);
    }
}
