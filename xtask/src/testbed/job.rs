//! The script the testbed's machine runs: the caller's command with its environment and folder.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A shell script that becomes `argv`, in `cwd`, with exactly `variables` as its environment.
pub(super) fn script(argv: &[OsString], cwd: &Path, variables: &[(OsString, OsString)]) -> Vec<u8> {
    let mut script = b"cd ".to_vec();
    quote(&mut script, cwd.as_os_str());
    script.extend_from_slice(b" || exit 125\nexec env -i");
    for (name, value) in variables {
        let mut assignment = name.clone();
        assignment.push("=");
        assignment.push(value);
        script.push(b' ');
        quote(&mut script, &assignment);
    }
    for arg in argv {
        script.push(b' ');
        quote(&mut script, arg);
    }
    script.push(b'\n');
    script
}

/// The caller's environment, marked as being inside the testbed.
///
/// Names a shell or `env` would read as something else are left out.
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> =
        env::vars_os().filter(|(name, _)| !name.as_bytes().starts_with(b"-") && !name.is_empty()).collect();
    variables.push(("MONOCORE_TESTBED".into(), "1".into()));
    variables
}

/// Folders that the machine mounts afresh, so that what the host has below them is hidden.
const FRESH: [&str; 3] = ["/tmp", "/run", "/dev/shm"];

/// A list, one a line, of the folders in `wanted` that the machine has to show below its own fresh ones.
pub(super) fn shown(wanted: &[PathBuf]) -> Vec<u8> {
    let hidden =
        |path: &&PathBuf| FRESH.iter().any(|fresh| path.starts_with(fresh) && *path != Path::new(fresh));
    let mut list: Vec<&PathBuf> = wanted.iter().filter(hidden).collect();
    list.sort();
    list.dedup();
    let mut text = Vec::new();
    for path in list {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    text
}

fn quote(script: &mut Vec<u8>, word: &OsStr) {
    script.push(b'\'');
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => script.extend_from_slice(b"'\\''"),
            byte => script.push(byte),
        }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn folders_below_the_machines_own_are_shown() {
        let paths = [
            "/tmp/a b/checkout/target",
            "/home/user/.cache",
            "/tmp",
            "/tmp/a b/checkout",
            "/run/user/0",
            "/tmpfile",
        ];
        let text = shown(&paths.map(PathBuf::from));
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "/run/user/0\n/tmp/a b/checkout\n/tmp/a b/checkout/target\n"
        );
    }

    #[test]
    fn arguments_arrive_untouched() {
        let words = ["it's", "$HOME `x` \\", "", "a  b\"c"];
        let argv: Vec<OsString> = ["printf", "%s\\n"].iter().chain(&words).map(OsString::from).collect();
        let script = script(&argv, Path::new("/"), &[("PATH".into(), "/usr/bin:/bin".into())]);
        let output = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), words.join("\n") + "\n");
    }
}
