//! The sandbox that a service becomes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use monocore_spec::{NetLimits, PolicySpec, Reach};

use super::dotenv;
use super::texts::{self, ParsedTexts};
use super::{ConfigError, ConfigErrors, EnvFile, Healthcheck, Project, Service};
use crate::project::{LABEL_GROUPS, LABEL_PROJECT, LABEL_SERVICE};
use crate::spec::{
    DEFAULT_SHM_BYTES, DEFAULT_STOP_TIMEOUT, EnvVar, GroupMembership, ImageSpec, LimitsSpec, MachineSpec,
    MountSource, MountSpec, NetworkSpec, ProcessSpec, RootSource, RootSpec, SandboxSpec, SpecVersion,
    StopSpec, parse_alias, parse_env, read_env_file,
};

/// Where secrets are in the guest.
const SECRETS: &str = "/run/secrets";

impl Service {
    /// The sandbox this service becomes. Its name is the caller's to set.
    ///
    /// # Errors
    /// A text that cannot be parsed, an environment file that cannot be read.
    pub fn sandbox_spec(&self, project: &Project) -> Result<SandboxSpec, ConfigErrors> {
        let mut errors = Vec::new();
        let parsed = texts::parse(self, &mut errors);
        let mounts = self.all_mounts(project, &parsed, &mut errors);
        let env = self.environment(project, &mut errors);
        let network = self.network_spec(project, &parsed);
        ConfigErrors::check(errors)?;
        let mut labels = self.labels.clone();
        labels.insert(LABEL_PROJECT.into(), project.name.clone());
        labels.insert(LABEL_SERVICE.into(), self.name.clone());
        if !self.groups.is_empty() {
            labels.insert(LABEL_GROUPS.into(), self.groups.join(","));
        }
        Ok(SandboxSpec {
            version: SpecVersion,
            name: None,
            root: RootSpec {
                source: RootSource::Image(ImageSpec {
                    reference: self.base.clone(),
                    pull: parsed.pull,
                    platform: self.platform.clone(),
                }),
                read_only: self.read_only,
                disk_bytes: parsed.disk_bytes,
            },
            process: self.process(&parsed, env),
            machine: MachineSpec {
                vcpus: self.cpus,
                cpu_millis: self.cpu_millis,
                pids_limit: self.pids_limit.filter(|most| *most > 0),
                ram_mib: self.ram.next_multiple_of(2),
                shm_bytes: parsed.shm_bytes.unwrap_or(DEFAULT_SHM_BYTES),
                ..MachineSpec::default()
            },
            mounts,
            publish_sockets: Vec::new(),
            network,
            hostname: self.hostname.clone(),
            hosts: parsed.hosts,
            labels,
            stop: StopSpec {
                signal: parsed.stop_signal,
                grace: self.stop_grace_period.unwrap_or(DEFAULT_STOP_TIMEOUT),
                timeout: self.timeout,
            },
            restart: parsed.restart,
            health: self.healthcheck.as_ref().map(Healthcheck::spec),
            limits: LimitsSpec { idle_timeout: self.idle_timeout, max_duration: self.max_duration },
        })
    }

    /// `command` is the program itself; else the script `start`; else the image's, with what replaces parts of it.
    fn process(&self, parsed: &ParsedTexts, env: Vec<EnvVar>) -> ProcessSpec {
        let words = |words: &[String]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let untouched = self.entrypoint.is_none() && self.args.is_empty();
        let (entrypoint, args) = match (&self.command, self.script("start")) {
            (Some(command), _) => (Some(vec![command.into()]), words(&self.args)),
            (None, Some(script)) if untouched => (Some(words(&script)), Vec::new()),
            (None, _) => (self.entrypoint.as_deref().map(words), words(&self.args)),
        };
        ProcessSpec {
            entrypoint,
            args,
            env,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            tty: self.tty,
            stdin: self.stdin_open,
            ulimits: parsed.ulimits.clone(),
            ..ProcessSpec::default()
        }
    }

    fn network_spec(&self, project: &Project, parsed: &ParsedTexts) -> NetworkSpec {
        let openly = project.config.publishes_openly(self);
        let publish = self.ports.iter().filter_map(|text| texts::publish(text, openly).ok()).flatten();
        let mut groups = self.groups.iter().filter_map(|name| project.config.group(name)).peekable();
        let internal = groups.peek().is_some() && groups.all(|group| group.internal);
        let default = if internal { Reach::Group } else { Reach::default() };
        NetworkSpec {
            mode: parsed.mode.clone(),
            policy: PolicySpec { reach: parsed.reach.unwrap_or(default), rules: parsed.rules.clone() },
            publish: publish.collect(),
            publish_exposed: false,
            dns: parsed.dns.clone(),
            dns_search: self.dns_search.clone(),
            log: None,
            log_max_bytes: None,
            limits: NetLimits::default(),
            groups: if parsed.mode.is_ours() { self.memberships(project) } else { Vec::new() },
            ..NetworkSpec::default()
        }
    }

    /// Its groups, in each of which it has the service's name, its aliases, and links of its own.
    fn memberships(&self, project: &Project) -> Vec<GroupMembership> {
        let names = std::iter::once(&self.name).chain(&self.aliases);
        let aliases: Vec<String> = names.filter_map(|name| parse_alias(name).ok()).collect();
        let links = self.links.iter().filter_map(|link| link.split_once(':'));
        let links: BTreeMap<_, _> =
            links.map(|(service, name)| (name.to_ascii_lowercase(), service.to_ascii_lowercase())).collect();
        let membership = |group: &String| {
            let external = project.config.group(group).filter(|group| group.external);
            let name = external.and_then(|group| group.group_name.as_ref()).unwrap_or(group);
            GroupMembership {
                // Groups without a project are those that `network create` makes.
                project: external.is_none().then(|| project.name.clone()),
                aliases: aliases.clone(),
                links: links.clone(),
                ..GroupMembership::new(name)
            }
        };
        self.groups.iter().map(membership).collect()
    }

    /// Its own mounts, its groups' and its secrets, with absolute paths and the volumes' names on the host.
    fn all_mounts(
        &self,
        project: &Project,
        parsed: &ParsedTexts,
        errors: &mut Vec<ConfigError>,
    ) -> Vec<MountSpec> {
        let mut mounts = parsed.mounts.clone();
        let groups = || self.groups.iter().filter_map(|name| project.config.group(name));
        for (index, mount) in self.group_volumes.iter().enumerate() {
            let key = format!("service.{}.group_volumes[{index}]", self.name);
            let volume = groups().flat_map(|group| &group.volumes).find(|volume| volume.name == mount.name);
            let Some(volume) = volume else { continue };
            match texts::group_mount(volume, &mount.path) {
                Ok(mount) => mounts.push(mount),
                Err(error) => errors.push(ConfigError::new(key, error.problem()).text(&mount.path)),
            }
        }
        for secret in &self.secrets {
            let known = project.config.secrets.iter().find(|known| known.name == secret.source);
            let Some(known) = known else { continue };
            let target = Path::new(SECRETS).join(secret.target.as_ref().unwrap_or(&secret.source));
            mounts.push(MountSpec {
                target: target.to_string_lossy().into_owned(),
                source: MountSource::Bind { path: known.file.clone().into(), create: false },
                read_only: true,
            });
        }
        let home = project.environment.get("HOME").map(String::as_str);
        for mount in &mut mounts {
            match &mut mount.source {
                MountSource::Bind { path, .. } | MountSource::Socket(path) => {
                    *path = texts::absolute(&project.dir, path, home);
                }
                MountSource::Volume(name) => *name = project.config.volume_name(&project.name, name),
                MountSource::Anonymous | MountSource::Tmpfs(_) => {}
            }
        }
        mounts
    }

    /// Files first, then the groups' sets, then its own: what is said last counts.
    fn environment(&self, project: &Project, errors: &mut Vec<ConfigError>) -> Vec<EnvVar> {
        let host = |name: &OsStr| project.environment.get(name.to_str()?).map(OsString::from);
        let mut env: Vec<EnvVar> = Vec::new();
        for (index, file) in self.env_files.iter().enumerate() {
            match read_file(project, file, host) {
                Ok(variables) => env.extend(variables),
                Err(problem) => errors.push(
                    ConfigError::new(format!("service.{}.env_file[{index}]", self.name), problem)
                        .text(&file.path),
                ),
            }
        }
        let groups: Vec<_> = self.groups.iter().filter_map(|name| project.config.group(name)).collect();
        let sets = self.group_envs.iter().flat_map(|name| {
            groups.iter().flat_map(|group| &group.envs).find(|set| set.name == *name).map(|set| &set.envs)
        });
        for text in sets.flatten().chain(&self.envs) {
            match parse_env(OsStr::new(text), host) {
                Ok(variable) => env.extend(variable),
                Err(error) => errors.push(
                    ConfigError::new(format!("service.{}.envs", self.name), error.problem()).text(text),
                ),
            }
        }
        let mut unique: Vec<EnvVar> = Vec::with_capacity(env.len());
        for variable in env {
            match unique.iter_mut().find(|other| other.name == variable.name) {
                Some(other) => *other = variable,
                None => unique.push(variable),
            }
        }
        unique
    }
}

/// The variables of a file.
fn read_file(
    project: &Project,
    file: &EnvFile,
    host: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Vec<EnvVar>, String> {
    let home = project.environment.get("HOME").map(String::as_str);
    let path = texts::absolute(&project.dir, Path::new(&file.path), home);
    if !file.required && !path.exists() {
        return Ok(Vec::new());
    }
    if file.raw {
        return read_env_file(&path, host).map_err(|error| error.problem().to_owned());
    }
    let variables = dotenv::read(&path, &|name| project.environment.get(name).cloned())?;
    Ok(variables.into_iter().map(|(name, value)| EnvVar { name: name.into(), value: value.into() }).collect())
}
