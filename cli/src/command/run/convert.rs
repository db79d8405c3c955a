//! Flags to a [`SandboxSpec`]: the one place where they are judged together.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use anyhow::{Context, bail};
use monocore_orchestrator::spec::{
    DEFAULT_RAM_MIB, DEFAULT_SHM_BYTES, DEFAULT_STOP_TIMEOUT, EnvVar, GroupMembership, ImageSpec,
    MachineSpec, MountSource, MountSpec, NetworkMode, NetworkSpec, ProcessSpec, PullPolicy, RootSource,
    RootSpec, SandboxSpec, SecretSpec, SpecVersion, StopSpec, capabilities, parse_env, parse_label,
    read_env_file,
};

use monocore_spec::{Action, Direction, NetLimits, NetRates, NetRule, NetTarget, PolicySpec, PublishedPort};

use super::args::{NetworkArg, NetworkArgs, Pull, RunArgs, Security};

/// The variable that names an ssh-agent's socket (ssh-agent(1)).
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";
/// Where the agent's socket is in the guest, as in Docker Desktop.
const AGENT_SOCKET: &str = "/run/host-services/ssh-auth.sock";

impl RunArgs {
    /// What the flags ask for; `host` is the caller's environment.
    ///
    /// # Errors
    /// A flag that does not fit the others, or a file it names that cannot be read; the text begins with the flag.
    pub(in crate::command) fn into_spec(
        mut self,
        host: impl Fn(&OsStr) -> Option<OsString>,
    ) -> anyhow::Result<SandboxSpec> {
        let agent = self.ssh_agent.then(|| host(OsStr::new(AGENT_VARIABLE))).map(agent_mount).transpose()?;
        let env = self.environment(host)?;
        let (labels, machine) = (self.labels()?, self.machine()?);
        let (source, args) = self.root_and_args()?;
        let entrypoint =
            self.entrypoint.map(|program| if program.is_empty() { Vec::new() } else { vec![program] });
        let mounts: Vec<_> =
            self.volume.into_iter().chain(self.mount).chain(self.tmpfs).chain(agent).collect();
        at_places_of_their_own(&mounts)?;
        let (restart, health) = (self.life.restart(self.rm)?, self.life.health()?);
        Ok(SandboxSpec {
            version: SpecVersion,
            name: self.name,
            root: RootSpec {
                source,
                read_only: self.read_only,
                disk_bytes: self.root_disk.or(self.storage_opt),
            },
            process: ProcessSpec {
                entrypoint,
                args,
                env,
                workdir: self.workdir,
                user: self.user,
                tty: self.tty,
                stdin: self.interactive,
                ulimits: self.ulimit,
                groups: self.rights.group_add,
                capabilities: capabilities(
                    &self.rights.cap_add,
                    &self.rights.cap_drop,
                    self.rights.privileged,
                ),
                secrets: distinct_secrets(self.secret)?,
                init: self.init,
                no_new_privileges: self
                    .rights
                    .security_opt
                    .iter()
                    .rev()
                    .any(|option| *option == Security::NoNewPrivileges(true)),
            },
            machine,
            mounts,
            publish_sockets: self.publish_socket,
            hostname: self.network.hostname.take(),
            hosts: std::mem::take(&mut self.network.add_host),
            network: self.network.into_spec()?,
            labels,
            stop: StopSpec {
                signal: self.stop_signal,
                grace: self.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
                timeout: self.timeout,
            },
            restart,
            health,
            limits: self.life.limits(),
        })
    }

    fn machine(&mut self) -> anyhow::Result<MachineSpec> {
        let cpus = self.cpus.total()?;
        Ok(MachineSpec {
            vcpus: cpus.vcpus,
            cpu_millis: cpus.limit_millis,
            ram_mib: self.memory.unwrap_or(DEFAULT_RAM_MIB),
            shm_bytes: self.shm_size.unwrap_or(DEFAULT_SHM_BYTES),
            kernel: self.kernel.take(),
            timeline: self.timeline.take(),
            jail: self.jail.into(),
            live_mounts: self.live_mounts,
            sysctls: std::mem::take(&mut self.rights.sysctl).into_iter().collect(),
            pids_limit: self.rights.pids_limit.take().and_then(|limit| limit.0),
            domainname: self.network.domainname.take(),
        })
    }

    /// Files first, then flags.
    fn labels(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        for path in &self.label_file {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("--label-file {}", path.display()))?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                let (key, value) = parse_label(line).context("--label-file")?;
                labels.insert(key, value);
            }
        }
        labels.extend(self.label.iter().cloned());
        Ok(labels)
    }

    /// Files first, then flags, as Docker orders them: what is said last counts.
    fn environment(&self, host: impl Fn(&OsStr) -> Option<OsString>) -> anyhow::Result<Vec<EnvVar>> {
        let mut env = Vec::new();
        if self.ssh_agent {
            env.push(EnvVar { name: AGENT_VARIABLE.into(), value: AGENT_SOCKET.into() });
        }
        for file in &self.env_file {
            env.extend(read_env_file(file, &host).context("--env-file")?);
        }
        for variable in &self.env {
            env.extend(parse_env(variable, &host).context("--env")?);
        }
        Ok(env)
    }

    /// The first word is the image unless a directory is the root; one `--` before the command is not part of it.
    fn root_and_args(&self) -> anyhow::Result<(RootSource, Vec<OsString>)> {
        let mut words = self.words.iter().cloned().peekable();
        let source = match &self.rootfs {
            Some(directory) => RootSource::Directory(directory.clone()),
            None => {
                let image =
                    words.next().context("IMAGE is missing: name one, or a directory with --rootfs")?;
                let Some(reference) = image.to_str() else {
                    bail!("IMAGE: {} is not UTF-8", image.display())
                };
                RootSource::Image(ImageSpec {
                    reference: reference.to_owned(),
                    pull: match self.pull {
                        Pull::Missing => PullPolicy::Missing,
                        Pull::Always => PullPolicy::Always,
                        Pull::Never => PullPolicy::Never,
                    },
                    platform: self.platform.clone(),
                })
            }
        };
        words.next_if(|word| word == "--");
        Ok((source, words.collect()))
    }
}

impl RunArgs {
    /// The networks that must be there: those that `--network` names.
    pub(in crate::command) fn networks(&self) -> Vec<GroupMembership> {
        let named = self.network.network.iter().filter_map(|network| match network {
            NetworkArg::Group(group) => Some(group.clone()),
            NetworkArg::Mode(_) => None,
        });
        named.collect()
    }
}

impl NetworkArgs {
    /// What the flags ask for.
    ///
    /// # Errors
    /// A port of a sandbox without a stack to publish it, or two for the same place.
    fn into_spec(self) -> anyhow::Result<NetworkSpec> {
        let (mut mode, mut groups) = (NetworkMode::Nat, self.group);
        for network in self.network {
            match network {
                NetworkArg::Mode(named) => mode = named,
                NetworkArg::Group(group) => groups.push(group),
            }
        }
        let mode = if self.no_net { NetworkMode::None } else { mode };
        let groups = merged(groups, &self.network_alias)?;
        if !mode.is_ours() && !groups.is_empty() {
            bail!("--group: members of groups have the network nat or tsi");
        }
        let publish: Vec<_> = self.publish.into_iter().flatten().collect();
        if !mode.is_ours() && !publish.is_empty() {
            bail!("--publish: ports are published with --network nat and tsi only");
        }
        if !mode.is_ours() && self.publish_all {
            bail!("--publish-all: ports are published with --network nat and tsi only");
        }
        if !mode.is_ours() && self.net_limit_connections.is_some() {
            bail!("--net-limit-connections: connections are counted with --network nat and tsi only");
        }
        let rates = NetRates { from_guest: self.net_limit_out, to_guest: self.net_limit_in };
        let connections = self.net_limit_connections.unwrap_or(NetLimits::default().connections);
        for (index, port) in publish.iter().enumerate() {
            let same = |other: &&PublishedPort| {
                (other.address, other.host_port, other.protocol)
                    == (port.address, port.host_port, port.protocol)
            };
            if port.host_port != 0 && publish[..index].iter().any(|other| same(&other)) {
                bail!("--publish: port {} of {} is published twice", port.host_port, port.address);
            }
        }
        let host = NetRule {
            action: Action::Allow,
            direction: Direction::Out,
            target: NetTarget::Host,
            ports: None,
            protocol: None,
        };
        let rules = self.allow_host.then_some(host).into_iter().chain(self.net_rule).collect();
        Ok(NetworkSpec {
            mode,
            policy: PolicySpec { reach: self.reach, rules },
            publish,
            publish_exposed: self.publish_all,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
            expose: self.expose,
            log: self.net_log,
            log_max_bytes: (self.net_log_size > 0).then_some(self.net_log_size),
            limits: NetLimits { connections, rates },
            groups,
        })
    }
}

/// Memberships in the same group as one, with `aliases` in each.
fn merged(groups: Vec<GroupMembership>, aliases: &[String]) -> anyhow::Result<Vec<GroupMembership>> {
    let mut all: Vec<GroupMembership> = Vec::new();
    for group in groups {
        let same =
            |other: &&mut GroupMembership| (&other.project, &other.group) == (&group.project, &group.group);
        match all.iter_mut().find(same) {
            Some(known) => {
                known.aliases.extend(group.aliases);
                known.address = known.address.or(group.address);
            }
            None => all.push(group),
        }
    }
    if all.is_empty() && !aliases.is_empty() {
        bail!("--network-alias: the sandbox is in no group: name one with --group or --network");
    }
    for group in &mut all {
        group.aliases.extend(aliases.iter().cloned());
        group.aliases.sort();
        group.aliases.dedup();
    }
    Ok(all)
}

/// Two secrets of one name would be one file.
fn distinct_secrets(secrets: Vec<SecretSpec>) -> anyhow::Result<Vec<SecretSpec>> {
    for (index, secret) in secrets.iter().enumerate() {
        if secrets[..index].iter().any(|other| other.name == secret.name) {
            bail!("--secret: two secrets are called {}", secret.name);
        }
    }
    Ok(secrets)
}

/// The socket of the caller's ssh-agent, for every user of the guest.
fn agent_mount(socket: Option<OsString>) -> anyhow::Result<MountSpec> {
    let socket = socket.filter(|socket| !socket.is_empty());
    let socket =
        socket.context("--ssh-agent: SSH_AUTH_SOCK is not set; start one with `eval \"$(ssh-agent)\"`")?;
    Ok(MountSpec {
        target: AGENT_SOCKET.into(),
        source: MountSource::Socket(socket.into()),
        read_only: false,
    })
}

/// # Errors
/// Two mounts have the same target.
fn at_places_of_their_own(mounts: &[MountSpec]) -> anyhow::Result<()> {
    for (index, mount) in mounts.iter().enumerate() {
        if mounts[..index].iter().any(|other| same_place(&other.target, &mount.target)) {
            bail!("--volume, --mount, --tmpfs: two mounts at {}", mount.target);
        }
    }
    Ok(())
}

/// Whether two absolute paths are the same but for doubled and trailing slashes.
fn same_place(a: &str, b: &str) -> bool {
    a.split('/').filter(|part| !part.is_empty()).eq(b.split('/').filter(|part| !part.is_empty()))
}

#[cfg(test)]
mod tests;
