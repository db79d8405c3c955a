//! Builders, for programs that embed monocore.

use std::time::Duration;

use super::{
    Condition, ConfigErrors, DependsOn, EnvFile, Group, GroupEnv, GroupVolume, GroupVolumeMount, Healthcheck,
    Monocore, NamedVolume, NetworkConfig, Secret, Service, WatchRule,
};

/// Collects a [`Monocore`].
#[derive(Clone, Debug, Default)]
pub struct MonocoreBuilder(Monocore);

impl MonocoreBuilder {
    /// Names the project.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = Some(name.into());
        self
    }

    /// Adds services.
    #[must_use]
    pub fn services(mut self, services: impl IntoIterator<Item = Service>) -> Self {
        self.0.services.extend(services);
        self
    }

    /// Adds groups.
    #[must_use]
    pub fn groups(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.0.groups.extend(groups);
        self
    }

    /// Declares named volumes.
    #[must_use]
    pub fn volumes(mut self, volumes: impl IntoIterator<Item = NamedVolume>) -> Self {
        self.0.volumes.extend(volumes);
        self
    }

    /// Declares secrets.
    #[must_use]
    pub fn secrets(mut self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        self.0.secrets.extend(secrets);
        self
    }

    /// The validated project.
    ///
    /// # Errors
    /// Every problem of the project, not only the first.
    pub fn build(self) -> Result<Monocore, ConfigErrors> {
        self.0.validate()?;
        Ok(self.0)
    }
}

/// Collects a [`Group`].
#[derive(Clone, Debug, Default)]
pub struct GroupBuilder(Group);

impl GroupBuilder {
    /// Names the group.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Sets whether published ports are reached from this host only.
    #[must_use]
    pub fn local_only(mut self, local_only: bool) -> Self {
        self.0.local_only = local_only;
        self
    }

    /// Sets whether members reach each other only.
    #[must_use]
    pub fn internal(mut self, internal: bool) -> Self {
        self.0.internal = internal;
        self
    }

    /// Adds a directory of the host that members may mount.
    #[must_use]
    pub fn volume(mut self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.0.volumes.push(GroupVolume { name: name.into(), path: path.into() });
        self
    }

    /// Adds a set of environment variables that members may use.
    #[must_use]
    pub fn env<T: Into<String>>(
        mut self,
        name: impl Into<String>,
        envs: impl IntoIterator<Item = T>,
    ) -> Self {
        self.0.envs.push(GroupEnv { name: name.into(), envs: envs.into_iter().map(Into::into).collect() });
        self
    }

    /// The group. Its project validates it.
    #[must_use]
    pub fn build(self) -> Group {
        self.0
    }
}

/// Collects a [`Service`].
#[derive(Clone, Debug, Default)]
pub struct ServiceBuilder(Service);

/// Setters of one text, required or optional.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: impl Into<String>) -> Self {
            self.0.$name = $name.into().into();
            self
        }
    )*};
}

/// Setters that add to a list of texts.
macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name<T: Into<String>>(mut self, $name: impl IntoIterator<Item = T>) -> Self {
            self.0.$name.extend($name.into_iter().map(Into::into));
            self
        }
    )*};
}

/// Setters of a plain value.
macro_rules! values {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.0.$name = $name.into();
            self
        }
    )*};
}

impl ServiceBuilder {
    texts! {
        /// Names the service.
        name;
        /// Sets the OCI image.
        base;
        /// Sets the program.
        command;
        /// Sets the directory the command starts in.
        workdir;
        /// Sets the user: `name|uid[:group|gid]`.
        user;
        /// Sets the restart policy: `no`, `on-failure[:N]`, `always` or `unless-stopped`.
        restart;
        /// Sets the host name in the guest.
        hostname;
        /// Sets the sandbox's name.
        container_name;
        /// Sets the size of the disk that takes what the service writes: `8G`.
        root_disk;
        /// Sets the signal that asks the command to end.
        stop_signal;
        /// Sets the size of `/dev/shm`: `64m`.
        shm_size;
        /// Sets when a registry is asked: `missing`, `always` or `never`.
        pull_policy;
        /// Sets the platform: `os/arch[/variant]`.
        platform;
    }

    lists! {
        /// Adds the service to groups.
        groups;
        /// Adds arguments.
        args;
        /// Publishes ports: `[ADDRESS:][HOST]:GUEST[/udp]`, or one number for both.
        ports;
        /// Adds volumes: `HOST:GUEST[:ro]`, `NAME:GUEST[:ro]`, or one path for both.
        volumes;
        /// Adds mounts by key: `type=bind|volume|tmpfs,source=…,target=…[,readonly]`.
        mounts;
        /// Adds memory file systems: `TARGET[:size=64m,…]`.
        tmpfs;
        /// Adds environment variables: `NAME=VALUE`, or `NAME` for the caller's value.
        envs;
        /// Uses environment sets of the service's groups.
        group_envs;
        /// Adds the service to profiles.
        profiles;
        /// Adds `NAME:ADDRESS` lines to the guest's `/etc/hosts`.
        extra_hosts;
        /// Adds name servers.
        dns;
        /// Adds search domains.
        dns_search;
        /// Adds names by which the members of its groups reach the service.
        aliases;
        /// Adds `SERVICE[:ALIAS]` names, for this service alone, of services that share a group with it.
        links;
        /// Adds resource limits: `nofile=1024:4096`.
        ulimits;
    }

    values! {
        /// Sets the vCPUs, 1 to 64.
        cpus: u8;
        /// Sets the CPU time that the commands may use together, thousandths of one CPU.
        cpu_millis: Option<u32>;
        /// Sets the most processes and threads of the commands.
        pids_limit: Option<u64>;
        /// Sets the guest RAM, MiB.
        ram: u32;
        /// Makes the root file system read-only.
        read_only: bool;
        /// Gives the command a terminal.
        tty: bool;
        /// Keeps the command's standard input open.
        stdin_open: bool;
        /// Sets how many sandboxes the service has.
        replicas: u16;
        /// Sets the time between the stop signal and the machine's end.
        stop_grace_period: Duration;
        /// Sets the time after which the command is stopped.
        timeout: Duration;
        /// Sets the time without use after which the sandbox is stopped.
        idle_timeout: Duration;
        /// Sets the time after its start at which the sandbox is stopped, restarts included.
        max_duration: Duration;
        /// Sets the health check.
        healthcheck: Healthcheck;
        /// Sets the network.
        network: NetworkConfig;
    }

    /// Adds the service to a group.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        self.groups([group])
    }

    /// Publishes a port: `[ADDRESS:][HOST]:GUEST[/udp]`, or one number for both.
    #[must_use]
    pub fn port(self, port: impl Into<String>) -> Self {
        self.ports([port])
    }

    /// Replaces the image's entrypoint; an empty list removes it.
    #[must_use]
    pub fn entrypoint<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.0.entrypoint = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Adds services that must be started before this one.
    #[must_use]
    pub fn depends_on<T: Into<String>>(mut self, services: impl IntoIterator<Item = T>) -> Self {
        let started = services.into_iter().map(|name| (name.into(), DependsOn::default()));
        self.0.depends_on.extend(started);
        self
    }

    /// Adds a service that must be in a certain state before this one is started.
    #[must_use]
    pub fn depends_on_state(mut self, service: impl Into<String>, condition: Condition) -> Self {
        self.0.depends_on.insert(service.into(), DependsOn { condition, required: true });
        self
    }

    /// Mounts a volume of the service's groups: `HOST:GUEST[:ro]`, or GUEST for the whole volume.
    #[must_use]
    pub fn group_volume(mut self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.0.group_volumes.push(GroupVolumeMount { name: name.into(), path: path.into() });
        self
    }

    /// Adds a file of environment variables.
    #[must_use]
    pub fn env_file(mut self, path: impl Into<String>) -> Self {
        self.0.env_files.push(EnvFile { path: path.into(), required: true, raw: false });
        self
    }

    /// Adds a named shell script; `start` is the command when there is no other.
    #[must_use]
    pub fn script(mut self, name: impl Into<String>, line: impl Into<String>) -> Self {
        self.0.scripts.insert(name.into(), line.into());
        self
    }

    /// Adds files of this host that `up --watch` follows.
    #[must_use]
    pub fn watch(mut self, rule: WatchRule) -> Self {
        self.0.watch.push(rule);
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.labels.insert(name.into(), value.into());
        self
    }

    /// The service. Its project validates it.
    #[must_use]
    pub fn build(self) -> Service {
        self.0
    }
}
