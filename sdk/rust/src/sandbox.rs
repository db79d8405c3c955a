//! Sandboxes that are kept, each a process of its own: create, start, exec, copy, stop.
//!
//! ```no_run
//! use monocore::sandbox::{Command, Installation, Sandbox};
//!
//! # async fn program() -> Result<(), Box<dyn std::error::Error>> {
//! let installation = Installation::of_user("/usr/local/bin/monocore")?;
//! let spec = Sandbox::builder("alpine").name("work").ram_mib(512).command(["sleep", "infinity"]).build()?;
//! let sandbox = Sandbox::create(&installation, spec).await?;
//! sandbox.start().await?;
//! sandbox.copy_in("data.csv", "/data.csv").await?;
//! let output = sandbox.exec(Command::new(["wc", "-l", "/data.csv"])).await?;
//! println!("{}", String::from_utf8_lossy(&output.stdout));
//! sandbox.stop().await?;
//! sandbox.remove().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each function works under any executor and blocks none of its threads. A future that is dropped before it is ready
//! takes back what it began: a sandbox that was being made is removed, one that was being started is killed, and a command
//! or a copy is killed in the guest. A sandbox that was made stays until [`Sandbox::remove`], also after the program.

mod builder;
mod command;
mod work;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use monocore_orchestrator::copy::{Copier, Source};
use monocore_orchestrator::session::{Outcome, SessionError, Signals};
use monocore_orchestrator::spec::SandboxSpec;
use monocore_orchestrator::{
    Condition, ControlClient, Home, Images, Launcher, SandboxEntry, registry, start_in_background,
};

pub use builder::SandboxBuilder;
pub use command::{Command, CommandOutput};
pub use monocore_orchestrator::copy::Copied;
pub use monocore_orchestrator::{Error, SandboxState, SandboxStatus};

const SIGKILL: u8 = 9;
/// The exit code of a sandbox that went without a word: 128 and SIGKILL's number.
const KILLED: u8 = 137;

/// A state directory, and the program that runs its sandboxes.
#[derive(Clone, Debug)]
pub struct Installation {
    launcher: Launcher,
    images: Images,
}

impl Installation {
    /// The state directory of this user (`MONOCORE_HOME`, else `~/.monocore`) and the program `monocore`.
    ///
    /// # Errors
    /// The environment names no directory.
    pub fn of_user(monocore: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self::new(Home::locate()?, monocore.into()))
    }

    /// Another state directory. It is made when it is needed.
    ///
    /// # Errors
    /// The path is relative, and the current directory is gone.
    pub fn at(home: impl AsRef<Path>, monocore: impl Into<PathBuf>) -> Result<Self, Error> {
        let home = home.as_ref();
        let home = std::path::absolute(home).map_err(|source| Error::File {
            action: "find",
            path: home.to_owned(),
            source,
        })?;
        Ok(Self::new(Home::at(home), monocore.into()))
    }

    fn new(home: Home, program: PathBuf) -> Self {
        Self { images: Images::new(&home), launcher: Launcher { home, program } }
    }

    /// Sets how images are found and fetched.
    #[must_use]
    pub fn with_images(mut self, images: Images) -> Self {
        self.images = images;
        self
    }
}

/// A sandbox that is kept. Clones are the same sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    installation: Installation,
    id: String,
    name: String,
}

impl Sandbox {
    /// Begins the description of a sandbox made from `image`.
    #[must_use]
    pub fn builder(image: impl Into<String>) -> SandboxBuilder {
        SandboxBuilder::new(image.into())
    }

    /// Makes a sandbox and fetches its image if need be. The sandbox does not run yet.
    ///
    /// # Errors
    /// The image cannot be found or fetched, the name is taken, or there is no command to run.
    pub async fn create(installation: &Installation, spec: SandboxSpec) -> Result<Self, Error> {
        let installation = installation.clone();
        let make = move |_| {
            let kept = installation.launcher.create(spec, &installation.images, false)?;
            let record = kept.record();
            Ok(Self { id: record.id.clone(), name: record.name.clone(), installation })
        };
        work::undone_by(make, |made: Self| {
            // There is nobody to tell that it stays; it is listed.
            let _ = made.remove_now();
        })
        .await
    }

    /// The sandbox with this name, this ID, or the only ID that begins so.
    ///
    /// # Errors
    /// There is none, there are several, or it ends with its command (`run --rm` without `-d`).
    pub async fn find(installation: &Installation, wanted: &str) -> Result<Self, Error> {
        let (installation, wanted) = (installation.clone(), wanted.to_owned());
        work::on_thread(move |_| {
            let entry = registry::find(&installation.launcher.home, &wanted)?;
            if entry.kept.is_none() {
                return Err(Error::NoSandbox(wanted));
            }
            Ok(Self { id: entry.id, name: entry.name, installation })
        })
        .await
    }

    /// The sandbox's identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The sandbox's name when it was made or found.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sandbox's state: its status, exit code, health and times.
    ///
    /// # Errors
    /// The sandbox was removed.
    pub async fn state(&self) -> Result<SandboxState, Error> {
        let this = self.clone();
        work::on_thread(move |_| Ok(this.entry()?.state)).await
    }

    /// Starts the sandbox and waits until its command runs. A sandbox that runs stays as it is.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with the reason, and with the code that a shell would report.
    pub async fn start(&self) -> Result<(), Error> {
        let this = self.clone();
        let start = move |_| {
            let entry = this.entry()?;
            let is_ours = entry.running.is_none();
            if let (true, Some(kept)) = (is_ours, &entry.kept) {
                start_in_background(&this.installation.launcher, kept)?;
            }
            Ok((this, is_ours))
        };
        let kill = |(this, is_ours): (Self, bool)| {
            if is_ours {
                // It may have ended by itself.
                let _ = this.end(Some(SIGKILL));
            }
        };
        work::undone_by(start, kill).await.map(|_| ())
    }

    /// Runs a command in the running sandbox to its end.
    ///
    /// # Errors
    /// [`Error::NotStarted`] if there is no such program; [`Error::NotRunning`]; or the sandbox ended before the command.
    pub async fn exec(&self, command: impl Into<Command>) -> Result<CommandOutput, Error> {
        let (this, command) = (self.clone(), command.into());
        work::on_thread(move |cancelled| {
            let client = this.connect()?;
            let (call, streams, output) = command.into_call();
            let signals = Signals::interrupted_by(cancelled);
            match client.exec(call, streams)?.run_to_end(&signals, None, None) {
                Ok(Outcome::Exited(status)) => Ok(output.taken(status.code())),
                // Its client goes with this function, and the command with its client.
                Ok(Outcome::Insisted(_) | Outcome::TimedOut | Outcome::Left) => Err(Error::Cancelled),
                Err(SessionError::Exec { code, message }) => Err(Error::NotStarted { code, message }),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Copies a file or directory of this machine to `to` in the sandbox, which need not run. As with `monocore cp`, `to`
    /// may be a directory that is there, and `DIRECTORY/.` means what is in it.
    ///
    /// # Errors
    /// Either side's.
    pub async fn copy_in(&self, from: impl AsRef<Path>, to: impl AsRef<str>) -> Result<Copied, Error> {
        let source = Source::new(from.as_ref().as_os_str().as_bytes(), false);
        let to = to.as_ref().as_bytes().to_vec();
        self.copy(move |copier| copier.to_guest(&source, &to)).await
    }

    /// Copies a file or directory of the sandbox, which need not run, to `to` on this machine. Whatever the guest sends,
    /// nothing outside of `to` is made or changed.
    ///
    /// # Errors
    /// Either side's.
    pub async fn copy_out(&self, from: impl AsRef<str>, to: impl AsRef<Path>) -> Result<Copied, Error> {
        let source = Source::new(from.as_ref().as_bytes(), false);
        let to = to.as_ref().to_owned();
        self.copy(move |copier| copier.to_host(&source, &to)).await
    }

    async fn copy(
        &self,
        copy: impl FnOnce(Copier<'_>) -> Result<Copied, Error> + Send + 'static,
    ) -> Result<Copied, Error> {
        let this = self.clone();
        work::on_thread(move |cancelled| {
            let (entry, signals) = (this.entry()?, Signals::interrupted_by(cancelled));
            let launcher = &this.installation.launcher;
            copy(Copier { launcher, entry: &entry, signals: &signals, owners: false })
        })
        .await
    }

    /// Waits until the sandbox has ended and is not started again; its exit code.
    ///
    /// # Errors
    /// The sandbox never ran.
    pub async fn wait(&self) -> Result<u8, Error> {
        let this = self.clone();
        let connected = work::on_thread(move |_| match this.connect() {
            Ok(client) => Ok(Some(client)),
            Err(Error::NotRunning(_)) => Ok(None),
            Err(error) => Err(error),
        });
        if let Some(client) = connected.await? {
            let _hang_up = work::HangUp(client.handle()?);
            let waited = work::on_thread(move |_| match client.wait_for(Condition::Completed, None) {
                // It ended meanwhile.
                Err(Error::NotRunning(_)) => Ok(()),
                other => other.map(|_| ()),
            });
            waited.await?;
        }
        let state = self.state().await?;
        match state.status {
            SandboxStatus::Created => Err(Error::NotRunning(self.name.clone())),
            _ => Ok(state.exit_code.unwrap_or(KILLED)),
        }
    }

    /// Stops the sandbox: its stop signal, a grace period, SIGKILL. One that does not run stays as it is. If the future is
    /// dropped, the sandbox is stopped all the same.
    ///
    /// # Errors
    /// The sandbox was removed, or its supervisor cannot be asked.
    pub async fn stop(&self) -> Result<(), Error> {
        let this = self.clone();
        work::on_thread(move |_| this.end(None)).await
    }

    /// Kills the sandbox: SIGKILL, and the machine's end if the guest does not answer.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn kill(&self) -> Result<(), Error> {
        let this = self.clone();
        work::on_thread(move |_| this.end(Some(SIGKILL))).await
    }

    /// Removes the sandbox with its disk and logs; one that runs is killed.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub async fn remove(self) -> Result<(), Error> {
        work::on_thread(move |_| self.remove_now()).await
    }

    fn entry(&self) -> Result<SandboxEntry, Error> {
        registry::find(&self.installation.launcher.home, &self.id)
    }

    fn connect(&self) -> Result<ControlClient, Error> {
        let home = &self.installation.launcher.home;
        ControlClient::connect(home, &registry::running(home, &self.id)?)
    }

    fn end(&self, signal: Option<u8>) -> Result<(), Error> {
        match self.connect().and_then(|client| client.stop(signal, None)) {
            Ok(_) | Err(Error::NotRunning(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_now(&self) -> Result<(), Error> {
        self.end(Some(SIGKILL))?;
        match self.entry()?.kept {
            Some(kept) => registry::remove(&self.installation.launcher.home, &kept),
            None => Ok(()),
        }
    }
}
