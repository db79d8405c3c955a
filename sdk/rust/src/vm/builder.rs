//! Describing a guest.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use monocore_orchestrator::Home;
use monocore_orchestrator::session::{Input, Output, Streams};
use monocore_orchestrator::spec::{
    EnvVar, LimitsSpec, MachineSpec, MountSource, MountSpec, NetworkSpec, ProcessSpec, RestartPolicy,
    RootSource, RootSpec, SandboxSpec, SpecVersion, StopSpec, parse_volume,
};
use monocore_spec::Sink;

use super::{Error, MicroVm};

/// Describes a guest; [`MicroVm::builder`] begins one.
#[derive(Debug, Default)]
pub struct MicroVmBuilder {
    root: Option<PathBuf>,
    program: Option<OsString>,
    args: Vec<OsString>,
    env: Vec<EnvVar>,
    workdir: Option<String>,
    user: Option<String>,
    ram_mib: Option<u32>,
    vcpus: Option<u8>,
    mounts: Vec<String>,
    read_only: bool,
    kernel: Option<PathBuf>,
    network: NetworkSpec,
    home: Option<PathBuf>,
    console: Sink,
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

impl MicroVmBuilder {
    /// The directory that is the guest's root; what the guest writes is written there.
    #[must_use]
    pub fn root_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.root = Some(path.into());
        self
    }

    /// The root refuses writes.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The program to run: a path in the guest, or a name to find in the command's `PATH`.
    #[must_use]
    pub fn exec_path(mut self, program: impl Into<OsString>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Its arguments, without its own name.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push(EnvVar { name: name.into(), value: value.into() });
        self
    }

    /// The directory it starts in; `/` by default.
    #[must_use]
    pub fn workdir(mut self, path: impl Into<String>) -> Self {
        self.workdir = Some(path.into());
        self
    }

    /// Who runs it, `name|uid[:group|gid]`; root by default.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Guest RAM in MiB; 512 by default.
    #[must_use]
    pub fn ram_mib(mut self, mib: u32) -> Self {
        self.ram_mib = Some(mib);
        self
    }

    /// Virtual CPUs, 1 to 64; 1 by default.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u8) -> Self {
        self.vcpus = Some(vcpus);
        self
    }

    /// A mount as `-v` of the command line writes it: `/host:/guest`, `/host:/guest:ro`, `volume:/guest`.
    #[must_use]
    pub fn mount(mut self, mount: impl Into<String>) -> Self {
        self.mounts.push(mount.into());
        self
    }

    /// How the guest reaches others, and others it; not at all by default.
    #[must_use]
    pub fn network(mut self, network: NetworkSpec) -> Self {
        self.network = network;
        self
    }

    /// Boots this kernel instead of the one inside the library.
    #[must_use]
    pub fn kernel_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.kernel = Some(path.into());
        self
    }

    /// Where the guest kernel's own messages go; nowhere by default.
    #[must_use]
    pub fn console(mut self, sink: Sink) -> Self {
        self.console = sink;
        self
    }

    /// What the command reads; nothing by default.
    #[must_use]
    pub fn stdin(mut self, input: Input) -> Self {
        self.stdin = Some(input);
        self
    }

    /// Where its output goes; this process's standard output by default.
    #[must_use]
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = Some(output);
        self
    }

    /// Where its diagnostics go; this process's standard error by default.
    #[must_use]
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = Some(output);
        self
    }

    /// The state directory; `MONOCORE_HOME` or `~/.monocore` by default.
    #[must_use]
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// Checks the description.
    ///
    /// # Errors
    /// No root or program was named, a value is not possible, there is no place for state.
    pub fn build(self) -> Result<MicroVm, Error> {
        let root = self.root.ok_or(Error::Missing("a root directory", "root_path"))?;
        let program = self.program.ok_or(Error::Missing("a program", "exec_path"))?;
        let home = self.home.map_or_else(Home::locate, |path| Ok(Home::at(path)))?;
        let mut machine = MachineSpec { kernel: self.kernel, ..MachineSpec::default() };
        machine.ram_mib = self.ram_mib.unwrap_or(machine.ram_mib);
        machine.vcpus = self.vcpus.unwrap_or(machine.vcpus);
        let spec = SandboxSpec {
            version: SpecVersion,
            name: None,
            root: RootSpec {
                source: RootSource::Directory(root),
                read_only: self.read_only,
                disk_bytes: None,
            },
            process: ProcessSpec {
                entrypoint: None,
                args: std::iter::once(program).chain(self.args).collect(),
                env: self.env,
                workdir: self.workdir,
                user: self.user,
                ..ProcessSpec::default()
            },
            machine,
            mounts: self.mounts.iter().map(|mount| existing(mount)).collect::<Result<_, _>>()?,
            publish_sockets: Vec::new(),
            network: self.network,
            hostname: None,
            hosts: Vec::new(),
            labels: BTreeMap::new(),
            stop: StopSpec::default(),
            restart: RestartPolicy::default(),
            health: None,
            limits: LimitsSpec::default(),
        };
        spec.validate()?;
        let streams = Streams::Pipes {
            stdin: self.stdin.unwrap_or(Input::Empty),
            stdout: self.stdout.map_or_else(|| inherited(io::stdout()), Ok)?,
            stderr: self.stderr.map_or_else(|| inherited(io::stderr()), Ok)?,
        };
        Ok(MicroVm { home, spec, streams, console: self.console })
    }
}

/// A mount whose source must be there: a library does not make directories out of typing errors.
fn existing(text: &str) -> Result<MountSpec, Error> {
    let mut mount = parse_volume(text)?;
    if let MountSource::Bind { create, .. } = &mut mount.source {
        *create = false;
    }
    Ok(mount)
}

fn inherited(stream: impl AsFd) -> Result<Output, Error> {
    let duplicate = stream.as_fd().try_clone_to_owned();
    duplicate.map(Output::Fd).map_err(|error| monocore_orchestrator::Error::Spawn(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> MicroVmBuilder {
        MicroVm::builder().home("/tmp/home").root_path("/root").exec_path("/bin/true")
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = MicroVm::builder().home("/h").exec_path("/bin/true").build().unwrap_err().to_string();
        assert!(error.contains("root_path"), "{error}");
        let error = MicroVm::builder().home("/h").root_path("/").build().unwrap_err().to_string();
        assert!(error.contains("exec_path"), "{error}");
    }

    #[test]
    fn values_are_checked() {
        assert!(complete().build().is_ok());
        assert!(complete().ram_mib(1).build().is_err());
        assert!(complete().vcpus(0).build().is_err());
        assert!(complete().mount("relative").build().is_err());
    }

    #[test]
    fn the_description_arrives() {
        let vm =
            complete().args(["a", "b"]).env("A", "1").workdir("/w").ram_mib(256).vcpus(2).mount("/x:/y:ro");
        let vm = vm.build().unwrap();
        assert_eq!(vm.spec.process.args, ["/bin/true", "a", "b"]);
        assert_eq!((vm.spec.machine.ram_mib, vm.spec.machine.vcpus), (256, 2));
        assert!(vm.spec.mounts[0].read_only);
    }
}
