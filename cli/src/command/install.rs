//! `install` and `uninstall`: a command of an image as a program of this user's.
//!
//! The program is a small shell script that calls `monocore run`. Its second line is a mark, so that nothing else is
//! replaced or removed.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Parser};
use monocore_orchestrator::spec;

use super::args::{Cli, Command};
use super::output;
use super::project::{self, ProjectArgs};

/// The second line of each program.
const MARK: &str = "# Made by `monocore install`; `monocore uninstall` removes it.";

#[derive(Debug, Args)]
#[command(override_usage = "monocore install [OPTIONS] [RUN OPTIONS] IMAGE [COMMAND [ARG…]]\n       \
                            monocore install [OPTIONS] SERVICE:SCRIPT")]
pub(super) struct InstallArgs {
    /// Name of the program [default: the command's, else the image's; the script's for a service]
    #[arg(long, value_name = "NAME", value_parser = spec::parse_name)]
    name: Option<String>,
    /// The directory in which the program is called is there in the sandbox, and the command starts in it
    #[arg(long)]
    cwd: bool,
    /// Replace a program that `install` made earlier
    #[arg(short, long)]
    force: bool,
    /// Directory of the program [default: ~/.local/bin]
    #[arg(long, value_name = "DIR", env = "MONOCORE_BIN_DIR")]
    dir: Option<PathBuf>,
    /// As for `monocore run`: options, the image, the command; or a script of a service of the project here
    #[arg(required = true, value_name = "IMAGE", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct UninstallArgs {
    /// Directory of the programs [default: ~/.local/bin]
    #[arg(long, value_name = "DIR", env = "MONOCORE_BIN_DIR")]
    dir: Option<PathBuf>,
    /// Names of programs
    #[arg(required = true, value_name = "NAME", value_parser = spec::parse_name)]
    names: Vec<String>,
}

pub(super) fn install(args: &InstallArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = program.to_str().context("the path of this program is not UTF-8")?;
    let (default, line) = match script_of(&args.words)? {
        Some(script) => script,
        None => command_of(args)?,
    };
    let name = args.name.clone().unwrap_or(default);
    spec::parse_name(&name).with_context(|| format!("{name:?} is not a name: choose one with --name"))?;
    let dir = directory(args.dir.as_deref())?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(&name);
    if !is_ours(&path)? {
        write(&path, &text(program, &line)?)?;
    } else {
        ensure!(args.force, "{} is there already: replace it with --force", path.display());
        write(&path, &text(program, &line)?)?;
    }
    output::print(&format!("{}\n", path.display()))?;
    if !std::env::var_os("PATH").is_some_and(|all| std::env::split_paths(&all).any(|each| each == dir)) {
        output::note(&format!("{} is not in PATH", dir.display()));
    }
    Ok(())
}

pub(super) fn uninstall(args: &UninstallArgs) -> anyhow::Result<()> {
    let dir = directory(args.dir.as_deref())?;
    super::end::each(&args.names, |name| {
        let path = dir.join(name);
        ensure!(is_ours(&path)?, "{}: there is no such program", path.display());
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        output::print(&format!("{name}\n"))
    })
}

/// Name and command line of a script of a service, if `words` name one.
fn script_of(words: &[String]) -> anyhow::Result<Option<(String, Vec<String>)>> {
    let [word] = words else { return Ok(None) };
    let Some((service, script)) = word.split_once(':') else { return Ok(None) };
    if !project::load_options(&ProjectArgs::default()).has_files() {
        return Ok(None);
    }
    let project = project::load(&ProjectArgs::default())?;
    let Some(found) = project.config.service(service) else { return Ok(None) };
    let Some([shell, flag, line]) = found.script(script) else {
        // An image may have this name, too.
        return Ok(None);
    };
    let mut command = vec!["compose".to_owned()];
    for file in &project.files {
        let file = file.to_str().context("the path of the project's file is not UTF-8")?;
        command.extend(["--file".to_owned(), file.to_owned()]);
    }
    let flags =
        ["--project-name", &project.name, "run", "--rm", "--no-deps", "--entrypoint", &shell, service];
    command.extend(flags.map(str::to_owned));
    // The shell's $0 is the script's name.
    command.extend([flag, line, script.to_owned()]);
    Ok(Some((script.to_owned(), command)))
}

/// Default name and command line of a command of an image.
fn command_of(args: &InstallArgs) -> anyhow::Result<(String, Vec<String>)> {
    let words = ["monocore", "run"].into_iter().map(str::to_owned).chain(args.words.iter().cloned());
    let call = match Cli::try_parse_from(words) {
        Ok(Cli { command: Command::Run(call) }) => call,
        Ok(_) => bail!("IMAGE is missing"),
        Err(error) => bail!("{error}"),
    };
    let default = call.program_name().context("IMAGE is missing")?;
    let mut command = vec!["run".to_owned(), "--quiet".to_owned(), "--interactive".to_owned()];
    if args.cwd {
        command.push(CWD.to_owned());
    }
    command.extend(args.words.iter().cloned());
    Ok((default, command))
}

/// Stands for the flags that share the current directory.
const CWD: &str = "\0cwd";

/// The program: `words` after `monocore`, with the caller's words behind them.
fn text(program: &str, words: &[String]) -> anyhow::Result<String> {
    let mut line = String::new();
    for word in words {
        line.push(' ');
        if word == CWD {
            line.push_str(r#"--volume "$PWD:$PWD" --workdir "$PWD""#);
        } else {
            line.push_str(&quoted(word)?);
        }
        if word == "--interactive" && words[0] == "run" {
            // Expands to nothing, or to one flag.
            line.push_str(" $tty");
        }
    }
    let program = quoted(program)?;
    Ok(format!("#!/bin/sh\n{MARK}\ntty=\n[ -t 0 ] && [ -t 1 ] && tty=--tty\nexec {program}{line} \"$@\"\n"))
}

fn quoted(word: &str) -> anyhow::Result<String> {
    ensure!(!word.contains('\0'), "a NUL byte cannot be a part of a command");
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Whether a program that `install` made is there.
///
/// # Errors
/// Something else is there.
fn is_ours(path: &Path) -> anyhow::Result<bool> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Ok(bytes) if bytes.split(|byte| *byte == b'\n').nth(1) == Some(MARK.as_bytes()) => Ok(true),
        Ok(_) => bail!("{} was not made by `monocore install`", path.display()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the program whole: nobody ever finds half of it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let dir = path.parent().with_context(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    let mode = std::fs::Permissions::from_mode(0o755);
    file.as_file().set_permissions(mode).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

fn directory(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = named {
        return std::path::absolute(dir).context("finding the directory");
    }
    let home: Option<OsString> = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.context("no place for programs: set HOME, or name one with --dir")?;
    Ok(Path::new(&home).join(".local/bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_calls_what_was_given_whatever_is_in_it() {
        let words = ["run", "--interactive", CWD, "a'b", "$(x)"].map(str::to_owned);
        let text = text("/opt/a b/monocore", &words).unwrap();
        let line = text.lines().last().unwrap();
        assert_eq!(
            line,
            r#"exec '/opt/a b/monocore' 'run' '--interactive' $tty --volume "$PWD:$PWD" --workdir "$PWD" 'a'\''b' '$(x)' "$@""#
        );
    }

    #[test]
    fn only_a_program_of_ours_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        assert!(!is_ours(&path).unwrap());
        write(&path, &text("/m", &["run".to_owned()]).unwrap()).unwrap();
        assert!(is_ours(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        std::fs::write(&path, "#!/bin/sh\necho other\n").unwrap();
        assert!(is_ours(&path).is_err());
    }
}
