//! A systemd user unit for the server.

use std::path::{Path, PathBuf};

use crate::Error;

/// The unit's name.
pub const UNIT: &str = "monocore-serve.service";

/// The unit's text, for this program and its arguments after `serve`.
///
/// `KillMode=process`: supervisors of sandboxes are in the unit's control group, and they go on
/// when the server ends.
#[must_use]
pub fn unit_text(program: &Path, args: &[String]) -> String {
    let words: Vec<_> = args.iter().map(|word| format!(" {}", quote(word))).collect();
    let program = quote(&program.display().to_string());
    format!(
        "[Unit]\nDescription=monocore's REST API\n\n[Service]\nExecStart={program} serve{}\nKillMode=process\n\
         Restart=on-failure\n\n[Install]\nWantedBy=default.target\n",
        words.concat()
    )
}

/// Writes the unit to the user's units; `systemctl --user enable --now monocore-serve` starts it.
///
/// # Errors
/// There is no home directory, or the file cannot be written.
pub fn install_unit(program: &Path, args: &[String]) -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let dir = config.ok_or(monocore_orchestrator::Error::NoHome)?.join("systemd/user");
    std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let path = dir.join(UNIT);
    std::fs::write(&path, unit_text(program, args)).map_err(Error::file("write", &path))?;
    Ok(path)
}

/// A word of a command line (systemd.service(5)).
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:[]".contains(c);
    let word = word.replace('%', "%%").replace('$', "$$");
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted() {
        let text = unit_text(Path::new("/usr/bin/monocore"), &["--socket".into(), "/run/a b%".into()]);
        assert!(text.contains("ExecStart=/usr/bin/monocore serve --socket \"/run/a b%%\"\n"), "{text}");
        assert!(text.contains("KillMode=process"));
    }
}
