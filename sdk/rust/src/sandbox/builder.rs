//! Describing a sandbox.

use std::collections::BTreeMap;
use std::ffi::OsString;

use monocore_orchestrator::spec::{
    EnvVar, ImageSpec, LimitsSpec, MachineSpec, NetworkMode, NetworkSpec, ParseError, ProcessSpec,
    PullPolicy, RestartPolicy, RootSource, RootSpec, SandboxSpec, SpecVersion, StopSpec, parse_publish,
    parse_volume,
};

/// Describes a sandbox; [`Sandbox::builder`](super::Sandbox::builder) begins one. What it has no method for is set in
/// the [`SandboxSpec`] that it builds.
#[derive(Debug)]
pub struct SandboxBuilder {
    image: String,
    name: Option<String>,
    command: Vec<OsString>,
    env: Vec<EnvVar>,
    workdir: Option<String>,
    user: Option<String>,
    ram_mib: Option<u32>,
    vcpus: Option<u8>,
    volumes: Vec<String>,
    ports: Vec<String>,
    labels: BTreeMap<String, String>,
    network: NetworkMode,
    restart: RestartPolicy,
}

impl SandboxBuilder {
    pub(super) fn new(image: String) -> Self {
        Self {
            image,
            name: None,
            command: Vec::new(),
            env: Vec::new(),
            workdir: None,
            user: None,
            ram_mib: None,
            vcpus: None,
            volumes: Vec::new(),
            ports: Vec::new(),
            labels: BTreeMap::new(),
            network: NetworkMode::Nat,
            restart: RestartPolicy::No,
        }
    }

    /// The name; one is made up unless it is set.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The command instead of the image's. The sandbox ends with it.
    #[must_use]
    pub fn command(mut self, argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.command = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push(EnvVar { name: name.into(), value: value.into() });
        self
    }

    /// The directory that the command starts in.
    #[must_use]
    pub fn workdir(mut self, path: impl Into<String>) -> Self {
        self.workdir = Some(path.into());
        self
    }

    /// The user, as `name|uid[:group|gid]`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Memory of the guest, MiB.
    #[must_use]
    pub fn ram_mib(mut self, ram_mib: u32) -> Self {
        self.ram_mib = Some(ram_mib);
        self
    }

    /// Processors of the guest.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u8) -> Self {
        self.vcpus = Some(vcpus);
        self
    }

    /// Mounts a directory, file or named volume, as `run -v`: `SOURCE:TARGET[:ro]`.
    #[must_use]
    pub fn volume(mut self, mount: impl Into<String>) -> Self {
        self.volumes.push(mount.into());
        self
    }

    /// Publishes a port, as `run -p`: `[ADDRESS:]HOST:GUEST[/udp]`.
    #[must_use]
    pub fn publish(mut self, port: impl Into<String>) -> Self {
        self.ports.push(port.into());
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The network; [`NetworkMode::Nat`] unless it is set.
    #[must_use]
    pub fn network(mut self, mode: NetworkMode) -> Self {
        self.network = mode;
        self
    }

    /// When the sandbox is started again after its command has ended; never unless it is set.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// The description.
    ///
    /// # Errors
    /// A value is not possible.
    pub fn build(self) -> Result<SandboxSpec, ParseError> {
        let mut machine = MachineSpec::default();
        machine.ram_mib = self.ram_mib.unwrap_or(machine.ram_mib);
        machine.vcpus = self.vcpus.unwrap_or(machine.vcpus);
        let image = ImageSpec { reference: self.image, pull: PullPolicy::default(), platform: None };
        let publish: Result<Vec<_>, _> = self.ports.iter().map(|port| parse_publish(port)).collect();
        let spec = SandboxSpec {
            version: SpecVersion,
            name: self.name,
            root: RootSpec { source: RootSource::Image(image), read_only: false, disk_bytes: None },
            process: ProcessSpec {
                args: self.command,
                env: self.env,
                workdir: self.workdir,
                user: self.user,
                ..ProcessSpec::default()
            },
            machine,
            mounts: self.volumes.iter().map(|mount| parse_volume(mount)).collect::<Result<_, _>>()?,
            publish_sockets: Vec::new(),
            network: NetworkSpec { mode: self.network, publish: publish?.concat(), ..NetworkSpec::default() },
            hostname: None,
            hosts: Vec::new(),
            labels: self.labels,
            stop: StopSpec::default(),
            restart: self.restart,
            health: None,
            limits: LimitsSpec::default(),
        };
        spec.validate()?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_flags_of_run_are() {
        let spec = SandboxBuilder::new("alpine".into())
            .name("web")
            .command(["httpd", "-f"])
            .ram_mib(256)
            .publish("127.0.0.1:8080:80")
            .volume("data:/data:ro")
            .build()
            .unwrap();
        assert_eq!((spec.name.as_deref(), spec.machine.ram_mib), (Some("web"), 256));
        assert_eq!((spec.network.publish[0].host_port, spec.network.publish[0].guest_port), (8080, 80));
        assert!(spec.mounts[0].read_only);
        for wrong in [
            SandboxBuilder::new("a".into()).name("a b"),
            SandboxBuilder::new("a".into()).vcpus(0),
            SandboxBuilder::new("a".into()).publish("x"),
            SandboxBuilder::new("a".into()).volume("a:b"),
        ] {
            wrong.build().unwrap_err();
        }
    }
}
