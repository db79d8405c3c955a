//! From a description to a running sandbox: ports, directory, disks, machine, command.

use std::path::{Path, PathBuf};

use monocore_protocol::{ByteString, Exec, ExecId, Tool};

use crate::kept::{KeptSandbox, NewSandbox};
use crate::life::Life;
use crate::live::MachineSize;
use crate::plan::DiskPlace;
use crate::sandbox::{LaunchedSandbox, Sandbox};
use crate::secrets::{self, SecretVariables};
use crate::session::Streams;
use crate::spec::{MountSource, NetworkMode, NetworkSpec, RootSource, SandboxSpec, SecretSource};
use crate::{
    Error, Home, Images, NetworkRecord, Plan, Published, RootFiles, RunDir, RunRecord, registry, run_dir,
};

/// Starts sandboxes below one state directory.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The state directory.
    pub home: Home,
    /// The program that becomes the virtual machine and the supervisor: `monocore`.
    pub program: PathBuf,
}

impl Launcher {
    /// Starts a sandbox that ends with its command and leaves nothing. `root_name` is what listings call `root`.
    ///
    /// # Errors
    /// The description is not possible, a port or the name is taken, or something the sandbox needs cannot be opened or made.
    pub fn start(
        &self,
        spec: &SandboxSpec,
        root_name: &str,
        root: &RootFiles<'_>,
        streams: Streams,
    ) -> Result<LaunchedSandbox, Error> {
        spec.validate()?;
        let published = Published::bind(&spec.network, exposed(root))?;
        let run = RunRecord {
            root: root_name.to_owned(),
            command: command_line(spec, root),
            labels: spec.labels.clone(),
            volumes: crate::volume::names(spec),
            network: NetworkRecord::new(&spec.network, &published),
            groups: spec.network.groups.clone(),
            size: Some(MachineSize::of(&spec.machine)),
        };
        let run_dir = RunDir::claim(&self.home, spec.name.as_deref(), run)?;
        let disk = DiskPlace::Nameless(run_dir.path().to_owned());
        let mut plan = Plan::make_with(&self.home, &run_dir, spec, root, published, &disk)?;
        let variables = SecretVariables::of_this_process(&spec.process.secrets)?;
        plan.configure.secrets = secrets::read(&spec.process.secrets, &variables)?;
        let life = Life::begin(&self.home, run_dir, spec, root.config())?;
        life.journal.note("create", &[]);
        let sandbox = Sandbox::start(plan, &self.program, streams)?;
        Ok(LaunchedSandbox { sandbox, life })
    }

    /// Starts a kept sandbox in this process.
    ///
    /// # Errors
    /// As [`Self::start`]; or it runs already.
    pub(crate) fn start_kept(
        &self,
        kept: &KeptSandbox,
        root: &RootFiles<'_>,
        streams: Streams,
        variables: &SecretVariables,
    ) -> Result<LaunchedSandbox, Error> {
        let spec = &kept.record().spec;
        let published = Published::bind(&spec.network, exposed(root))?;
        let network = NetworkRecord::new(&spec.network, &published);
        let run_dir = RunDir::claim_kept(&self.home, kept, network)?;
        let life = Life::begin(&self.home, run_dir, spec, root.config())?;
        let sandbox = self.start_machine(kept, root, streams, (&life, variables), published)?;
        Ok(LaunchedSandbox { sandbox, life })
    }

    /// Starts the machine of a kept sandbox again, with the ports it had.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_again(
        &self,
        kept: &KeptSandbox,
        root: &RootFiles<'_>,
        streams: Streams,
        (life, variables): (&Life, &SecretVariables),
    ) -> Result<Sandbox, Error> {
        let mut network = kept.record().spec.network.clone();
        if let NetworkRecord::Ours { .. } = life.run_dir().record().network {
            network.publish = run_dir::ports(life.run_dir().path());
            network.publish_exposed = false;
        }
        let published = Published::bind(&network, &[])?;
        let size = MachineSize::of(&kept.record().spec.machine);
        if life.run_dir().record().size != Some(size) {
            run_dir::write_size(life.run_dir().path(), size)?;
        }
        self.start_machine(kept, root, streams, (life, variables), published)
    }

    fn start_machine(
        &self,
        kept: &KeptSandbox,
        root: &RootFiles<'_>,
        streams: Streams,
        (life, variables): (&Life, &SecretVariables),
        published: Published,
    ) -> Result<Sandbox, Error> {
        let spec = &kept.record().spec;
        let disk = DiskPlace::Named(kept.disk());
        let mut plan = Plan::make_with(&self.home, life.run_dir(), spec, root, published, &disk)?;
        plan.configure.secrets = secrets::read(&spec.process.secrets, variables)?;
        Sandbox::start(plan, &self.program, streams)
    }
}

impl Launcher {
    /// Writes the sandbox of `spec` down, with the image that its reference leads to now. It does not run yet.
    ///
    /// # Errors
    /// The description is not possible, the image cannot be found or fetched, the name is taken, or there is no command to run.
    pub fn create(
        &self,
        mut spec: SandboxSpec,
        images: &Images,
        auto_remove: bool,
    ) -> Result<KeptSandbox, Error> {
        spec.validate()?;
        spec.make_absolute()?;
        let (root, image, command) = match &spec.root.source {
            RootSource::Directory(path) => {
                let command = command_line(&spec, &RootFiles::Directory(path));
                (path.display().to_string(), None, command)
            }
            RootSource::Image(image) => {
                let found = images.find(image)?;
                let command = command_line(&spec, &RootFiles::Image(&found.config, found.root()?));
                (image.reference.clone(), Some(found.id.to_string()), command)
            }
        };
        if command.first().is_none_or(String::is_empty) {
            return Err(Error::NoCommand);
        }
        registry::create(&self.home, NewSandbox { spec, root, image, command, auto_remove })
    }

    /// Starts the machine of a kept sandbox that does not run, with its disk and its mounts and without a network, for
    /// one piece of work of the agent's. What listings say about the sandbox stays as it is.
    ///
    /// # Errors
    /// As [`Self::start`]; or it runs already.
    pub(crate) fn start_tool(
        &self,
        kept: &KeptSandbox,
        root: &RootFiles<'_>,
        tool: Tool,
        streams: Streams,
    ) -> Result<LaunchedSandbox, Error> {
        let mut spec = kept.record().spec.clone();
        spec.network = NetworkSpec { mode: NetworkMode::None, ..NetworkSpec::default() };
        spec.publish_sockets.clear();
        spec.mounts.retain(|mount| !matches!(mount.source, MountSource::Socket(_)));
        spec.machine.timeline = None;
        spec.stop.timeout = None;
        let run_dir = RunDir::claim_kept(&self.home, kept, NetworkRecord::None)?;
        let disk = DiskPlace::Named(kept.disk());
        let mut plan = Plan::make_with(&self.home, &run_dir, &spec, root, Published::default(), &disk)?;
        plan.exec = Exec { tool: Some(tool), ..Exec::new(ExecId(0), Vec::<ByteString>::new()) };
        let life = Life::of_tool(run_dir, spec.stop)?;
        let sandbox = Sandbox::start(plan, &self.program, streams)?;
        Ok(LaunchedSandbox { sandbox, life })
    }
}

impl SandboxSpec {
    /// Makes every path of the host absolute: a description that is kept must not depend on a current directory.
    ///
    /// # Errors
    /// The current directory is gone.
    pub fn make_absolute(&mut self) -> Result<(), Error> {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        if let RootSource::Directory(path) = &mut self.root.source {
            paths.push(path);
        }
        paths.extend(self.machine.kernel.as_mut());
        paths.extend(self.machine.timeline.as_mut());
        paths.extend(self.network.log.as_mut());
        if let NetworkMode::Passt(path) = &mut self.network.mode {
            paths.push(path);
        }
        for mount in &mut self.mounts {
            if let MountSource::Bind { path, .. } | MountSource::Socket(path) = &mut mount.source {
                paths.push(path);
            }
        }
        for secret in &mut self.process.secrets {
            if let SecretSource::File(path) = &mut secret.source {
                paths.push(path);
            }
        }
        paths.extend(self.publish_sockets.iter_mut().map(|socket| &mut socket.host));
        for path in paths {
            *path = std::path::absolute(&*path).map_err(Error::file("find", &*path))?;
        }
        Ok(())
    }
}

/// The command line that `spec` and its image make together, for listings.
#[must_use]
fn command_line(spec: &SandboxSpec, root: &RootFiles<'_>) -> Vec<String> {
    crate::process::argv(&spec.process, root.config()).iter().map(ToString::to_string).collect()
}

fn exposed<'a>(root: &'a RootFiles<'_>) -> &'a [String] {
    match root {
        RootFiles::Image(config, _) => &config.exposed_ports,
        RootFiles::Directory(_) => &[],
    }
}

/// This program, as the kernel has it open: also when its file was replaced.
#[must_use]
pub fn this_program() -> &'static Path {
    Path::new("/proc/self/exe")
}
