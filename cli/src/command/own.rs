//! `self`: monocore on this machine.

mod signature;
mod update;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use monocore_orchestrator::{Home, Launcher, registry, start_in_background, this_program};

use super::{end, output};

/// The unit's name.
const UNIT: &str = "monocore.service";
/// The directory of links to the units that start with a user's others.
const WANTS: &str = "default.target.wants";

#[derive(Debug, Subcommand)]
pub(super) enum SelfCommand {
    /// Start sandboxes with this machine whose restart policy is `always` or `unless-stopped`
    StartOnBoot(StartOnBootArgs),
    /// Replace this program by the one that is published, after its signature was verified
    Update(update::UpdateArgs),
    /// Remove this program and its systemd units; with --data everything else, too
    Uninstall(update::UninstallArgs),
    /// Start those sandboxes now, as the unit of `start-on-boot` does
    #[command(hide = true)]
    StartRestartable,
}

#[derive(Debug, Args)]
pub(super) struct StartOnBootArgs {
    /// Only print the systemd unit
    #[arg(long)]
    print: bool,
    /// Remove the unit again
    #[arg(long, conflicts_with = "print")]
    remove: bool,
}

pub(super) fn main(command: &SelfCommand) -> anyhow::Result<()> {
    match command {
        SelfCommand::StartOnBoot(args) => start_on_boot(args),
        SelfCommand::Update(args) => update::update(args),
        SelfCommand::Uninstall(args) => update::uninstall(args),
        SelfCommand::StartRestartable => start_restartable(),
    }
}

fn start_on_boot(args: &StartOnBootArgs) -> anyhow::Result<()> {
    let units = Units::locate()?;
    if args.remove {
        return units.remove();
    }
    let program = std::env::current_exe().context("finding this program")?;
    let home = Home::locate()?;
    let unit = unit(&program, home.root())?;
    output::print(&unit)?;
    if args.print {
        return Ok(());
    }
    units.write(&unit)?;
    output::note(&format!(
        "written to {}; it takes effect at the next login. For a start before any login, run once: loginctl \
         enable-linger",
        units.unit().display()
    ));
    Ok(())
}

/// Starts what should run and does not.
fn start_restartable() -> anyhow::Result<()> {
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let names: Vec<_> =
        registry::restartable(&launcher.home)?.into_iter().map(|kept| kept.record().id.clone()).collect();
    end::each(&names, |id| {
        let kept = registry::open_kept(&launcher.home, id)?;
        start_in_background(&launcher, &kept).with_context(|| format!("sandbox {}", kept.record().name))?;
        output::print(&format!("{}\n", kept.record().name))
    })
}

/// The directory of a user's systemd units.
#[derive(Debug)]
struct Units(PathBuf);

impl Units {
    /// `systemd/user` below the user's configuration (systemd.unit(5)).
    fn locate() -> anyhow::Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let config = config.context("no place for systemd units: set HOME")?;
        Ok(Self(config.join("systemd/user")))
    }

    fn unit(&self) -> PathBuf {
        self.0.join(UNIT)
    }

    fn link(&self) -> PathBuf {
        self.0.join(WANTS).join(UNIT)
    }

    /// The files of the unit.
    fn files(&self) -> [PathBuf; 2] {
        [self.link(), self.unit()]
    }

    /// These, and those of the server's unit.
    fn all_files(&self) -> impl Iterator<Item = PathBuf> {
        let server = [self.0.join(WANTS).join(monocore_server::UNIT), self.0.join(monocore_server::UNIT)];
        self.files().into_iter().chain(server)
    }

    /// Writes the unit and enables it, which is a link in a directory of its target's.
    fn write(&self, unit: &str) -> anyhow::Result<()> {
        let (path, link) = (self.unit(), self.link());
        std::fs::create_dir_all(self.0.join(WANTS))
            .with_context(|| format!("cannot create {}", self.0.display()))?;
        std::fs::write(&path, unit).with_context(|| format!("cannot write {}", path.display()))?;
        match std::os::unix::fs::symlink(Path::new("..").join(UNIT), &link) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.with_context(|| format!("cannot link {}", link.display())),
        }
    }

    fn remove(&self) -> anyhow::Result<()> {
        for path in self.files() {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        Ok(())
    }
}

/// The unit. Sandboxes run in its control group; at shutdown systemd sends their supervisors SIGTERM,
/// and each stops its sandbox.
fn unit(program: &Path, home: &Path) -> anyhow::Result<String> {
    let text = |path: &Path| {
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        anyhow::ensure!(!text.contains(char::is_control), "{text:?} has control characters");
        Ok(text.to_owned())
    };
    let program = quoted(&text(program)?).replace('$', "$$");
    let home = quoted(&format!("MONOCORE_HOME={}", text(home)?));
    Ok(format!(
        "[Unit]\n\
         Description=Sandboxes of monocore that start with the machine\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         Environment={home}\n\
         ExecStart={program} self start-restartable\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// One word of a unit file (systemd.syntax(7)), without specifiers.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_program_and_home_whatever_is_in_them() {
        let unit = unit(Path::new("/opt/a b/$x/monocore"), Path::new("/home/u/100%\"")).unwrap();
        assert!(unit.contains("ExecStart=\"/opt/a b/$$x/monocore\" self start-restartable\n"), "{unit}");
        assert!(unit.contains("Environment=\"MONOCORE_HOME=/home/u/100%%\\\"\"\n"), "{unit}");
        assert!(super::unit(Path::new("/x\ny"), Path::new("/")).is_err());
    }

    #[test]
    fn a_unit_is_written_enabled_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let units = Units(dir.path().join("systemd/user"));
        units.remove().unwrap();
        units.write("old").unwrap();
        units.write("new").unwrap();
        assert_eq!(std::fs::read_to_string(units.link()).unwrap(), "new", "the link leads to the unit");
        units.remove().unwrap();
        assert!(!units.unit().exists() && units.link().symlink_metadata().is_err());
    }
}
