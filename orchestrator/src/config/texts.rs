//! The texts of a service, read by the parsers of [`crate::spec`].

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, Path, PathBuf};

use monocore_protocol::Rlimit;
use monocore_spec::{NetRule, PublishedPort, Reach};

use super::{ConfigError, GroupVolume, Service};
use crate::spec::{
    HostEntry, MAX_VCPUS, MountSource, MountSpec, NetworkMode, ParseError, PullPolicy, RestartPolicy, Signal,
    parse_disk_size, parse_env, parse_host_entry, parse_mount, parse_name, parse_net_rule, parse_network,
    parse_publish, parse_ram_mib, parse_reach, parse_restart, parse_size, parse_tmpfs, parse_ulimit,
    parse_volume,
};

/// What the texts of a service say. Whatever a parser rejected is absent.
#[derive(Debug, Default)]
pub(super) struct ParsedTexts {
    /// Published ports, those without an address on loopback.
    pub(super) ports: Vec<PublishedPort>,
    pub(super) mounts: Vec<MountSpec>,
    pub(super) mode: NetworkMode,
    pub(super) reach: Option<Reach>,
    pub(super) rules: Vec<NetRule>,
    pub(super) hosts: Vec<HostEntry>,
    pub(super) dns: Vec<IpAddr>,
    pub(super) stop_signal: Option<Signal>,
    pub(super) ulimits: Vec<Rlimit>,
    pub(super) shm_bytes: Option<u64>,
    pub(super) disk_bytes: Option<u64>,
    pub(super) pull: PullPolicy,
    pub(super) restart: RestartPolicy,
}

/// Reads every text of `service`; each that a parser rejects is a problem.
pub(super) fn parse(service: &Service, errors: &mut Vec<ConfigError>) -> ParsedTexts {
    let mut reader = Reader { service, errors };
    let mut parsed = ParsedTexts {
        ports: reader.list("ports", &service.ports, parse_publish).into_iter().flatten().collect(),
        mode: reader
            .one("network.mode", service.network.mode.as_deref(), parse_network)
            .unwrap_or(NetworkMode::Nat),
        reach: reader.one("network.reach", service.network.reach.as_deref(), parse_reach),
        hosts: reader.list("extra_hosts", &service.extra_hosts, parse_host_entry),
        dns: reader.list("dns", &service.dns, parse_address),
        stop_signal: reader.one("stop_signal", service.stop_signal.as_deref(), Signal::parse),
        ulimits: reader.list("ulimits", &service.ulimits, parse_ulimit),
        shm_bytes: reader.one("shm_size", service.shm_size.as_deref(), parse_size),
        disk_bytes: reader.one("root_disk", service.root_disk.as_deref(), parse_disk_size),
        pull: reader.one("pull_policy", service.pull_policy.as_deref(), parse_pull).unwrap_or_default(),
        restart: reader.one("restart", service.restart.as_deref(), parse_restart).unwrap_or_default(),
        ..ParsedTexts::default()
    };
    parsed.mounts = reader.mounts();
    // What is denied stays denied, whatever is allowed besides.
    parsed.rules = reader.list("network.deny", &service.network.deny, |text| rule("deny", text));
    parsed.rules.extend(reader.list("network.allow", &service.network.allow, |text| rule("allow", text)));
    reader.check_numbers();
    reader.check_names();
    check_envs(&format!("service.{}.envs", service.name), &service.envs, errors);
    check_healthcheck(service, errors);
    parsed
}

struct Reader<'a> {
    service: &'a Service,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn fail(&mut self, field: &str, text: &str, problem: impl Into<String>) {
        let key = format!("service.{}.{field}", self.service.name);
        self.errors.push(ConfigError::new(key, problem).text(text));
    }

    fn one<T>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl Fn(&str) -> Result<T, ParseError>,
    ) -> Option<T> {
        let text = text?;
        parse(text).map_err(|error| self.fail(field, text, error.problem())).ok()
    }

    fn list<T>(
        &mut self,
        field: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, ParseError>,
    ) -> Vec<T> {
        let mut parsed = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match parse(text) {
                Ok(value) => parsed.push(value),
                Err(error) => self.fail(&format!("{field}[{index}]"), text, error.problem()),
            }
        }
        parsed
    }

    /// Volumes, mounts and memory file systems; no two at one place.
    fn mounts(&mut self) -> Vec<MountSpec> {
        let service = self.service;
        let mut mounts: Vec<MountSpec> = Vec::new();
        let parsers: [(&str, &[String], Parser); 3] = [
            ("volumes", &service.volumes, volume),
            ("mounts", &service.mounts, parse_mount),
            ("tmpfs", &service.tmpfs, parse_tmpfs),
        ];
        for (field, texts, parse) in parsers {
            for (index, text) in texts.iter().enumerate() {
                match parse(text) {
                    Ok(mount) if mounts.iter().any(|other| same_place(&other.target, &mount.target)) => {
                        let problem = format!("{} is mounted already", mount.target);
                        self.fail(&format!("{field}[{index}]"), text, problem);
                    }
                    Ok(mount) => mounts.push(mount),
                    Err(error) => self.fail(&format!("{field}[{index}]"), text, error.problem()),
                }
            }
        }
        mounts
    }

    fn check_numbers(&mut self) {
        let service = self.service;
        if !(1..=MAX_VCPUS).contains(&service.cpus) {
            self.fail("cpus", &service.cpus.to_string(), format!("a service has 1 to {MAX_VCPUS} CPUs"));
        }
        if let Some(millis) = service.cpu_millis
            && !(10..=u32::from(MAX_VCPUS) * 1000).contains(&millis)
        {
            let most = u32::from(MAX_VCPUS) * 1000;
            self.fail("cpu_millis", &millis.to_string(), format!("give 10 to {most} thousandths of a CPU"));
        }
        let ram = format!("{}m", service.ram);
        if let Err(error) = parse_ram_mib(&ram) {
            self.fail("ram", &service.ram.to_string(), error.problem());
        }
        for (index, mount) in service.secrets.iter().enumerate() {
            if mount.target.as_deref().is_some_and(|target| target.is_empty() || target.contains("..")) {
                self.fail(&format!("secrets[{index}]"), &mount.source, "the target is no path of a file");
            }
        }
    }

    fn check_names(&mut self) {
        let service = self.service;
        if let Some(workdir) = &service.workdir
            && !workdir.starts_with('/')
        {
            self.fail("workdir", workdir, "a working directory is an absolute path");
        }
        let hostname = service.hostname.as_slice();
        for (field, names) in [("hostname", hostname), ("aliases", &service.aliases)] {
            for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_host_name(name)) {
                let field = if field == "aliases" { format!("aliases[{index}]") } else { field.to_owned() };
                self.fail(&field, name, "a host name has letters, digits, '-' and '.', at most 63 in a row");
            }
        }
        let linked = |link: &str| {
            let alias = link.split_once(':').map_or(link, |(_, alias)| alias);
            let problem = || ParseError::new(link, "give SERVICE or SERVICE:ALIAS, the alias a host name");
            is_host_name(alias).then_some(()).ok_or_else(problem)
        };
        self.list("links", &service.links, linked);
        self.one("container_name", service.container_name.as_deref(), parse_name);
        // The empty profile is one, too.
        self.list("profiles", &service.profiles, |text| {
            if text.is_empty() { Ok(String::new()) } else { parse_name(text) }
        });
        for name in service.scripts.keys() {
            self.one(&format!("scripts.{name}"), Some(name), parse_name);
        }
        if service.labels.keys().any(String::is_empty) {
            self.fail("labels", "", "a label's name is empty");
        }
        if service.user.as_deref() == Some("") {
            self.fail("user", "", "the user is empty");
        }
        if let Some(platform) = &service.platform
            && !(2..=3).contains(&platform.split('/').filter(|part| !part.is_empty()).count())
        {
            self.fail(
                "platform",
                platform,
                "a platform is OS/ARCHITECTURE[/VARIANT], for instance linux/amd64",
            );
        }
    }
}

type Parser = fn(&str) -> Result<MountSpec, ParseError>;

/// A volume as `monocore.toml` writes it: one absolute path stands for the host's and the guest's.
pub(super) fn volume(text: &str) -> Result<MountSpec, ParseError> {
    if text.starts_with('/') && !text.contains(':') {
        return parse_volume(&format!("{text}:{text}"))
            .map_err(|error| ParseError::new(text, error.problem()));
    }
    parse_volume(text)
}

/// Ports to publish; one that names no address is on loopback, or with `openly` on every address.
pub(super) fn publish(text: &str, openly: bool) -> Result<Vec<PublishedPort>, ParseError> {
    let mut ports = parse_publish(text)?;
    if openly && !names_an_address(text) {
        for port in &mut ports {
            port.address = Ipv4Addr::UNSPECIFIED.into();
        }
    }
    Ok(ports)
}

/// Whether a text of `ports` begins with an address.
pub(super) fn names_an_address(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or("", |(host, _)| host);
    host.rsplit_once(':').is_some_and(|(address, _)| !address.is_empty())
}

/// A volume of a group where a service wants it.
pub(super) fn group_mount(volume: &GroupVolume, path: &str) -> Result<MountSpec, ParseError> {
    let fail = |problem: &str| ParseError::new(path, problem);
    let (host, rest) = match path.split_once(':') {
        Some((host, rest)) if rest.starts_with('/') => (Some(host), rest),
        _ => (None, path),
    };
    let base = Path::new(&volume.path);
    let source = match host {
        None => base.to_path_buf(),
        Some(host) => base.join(host),
    };
    let outside = source.components().any(|part| part == Component::ParentDir) || !source.starts_with(base);
    if outside {
        return Err(fail(&format!("the path is not inside volume {}, {}", volume.name, volume.path)));
    }
    // The source may have any characters; only the rest goes through the parser.
    let parsed = parse_volume(&format!("/volume:{rest}")).map_err(|error| fail(error.problem()))?;
    Ok(MountSpec { source: MountSource::Bind { path: source, create: true }, ..parsed })
}

/// Checks `NAME=VALUE` and `NAME` texts.
pub(super) fn check_envs(key: &str, envs: &[String], errors: &mut Vec<ConfigError>) {
    for (index, text) in envs.iter().enumerate() {
        let problem = match parse_env(OsStr::new(text), |_| None) {
            Err(error) => error.problem().to_owned(),
            Ok(_) if text.contains('\0') => "a variable cannot have a NUL byte".into(),
            Ok(_) => continue,
        };
        errors.push(ConfigError::new(format!("{key}[{index}]"), problem).text(text));
    }
}

/// `path` as seen from `base`, `~/` from the home directory.
pub(super) fn absolute(base: &Path, path: &Path, home: Option<&str>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => base.join(path).components().filter(|part| *part != Component::CurDir).collect(),
    }
}

/// Whether two absolute paths are the same but for doubled and trailing slashes.
fn same_place(a: &str, b: &str) -> bool {
    a.split('/').filter(|part| !part.is_empty()).eq(b.split('/').filter(|part| !part.is_empty()))
}

fn rule(action: &str, text: &str) -> Result<NetRule, ParseError> {
    parse_net_rule(&format!("{action}:{text}")).map_err(|error| ParseError::new(text, error.problem()))
}

fn parse_address(text: &str) -> Result<IpAddr, ParseError> {
    text.parse().map_err(|_| ParseError::new(text, "give an IP address"))
}

/// Compose's `if_not_present` is `missing`.
fn parse_pull(text: &str) -> Result<PullPolicy, ParseError> {
    match text {
        "missing" | "if_not_present" => Ok(PullPolicy::Missing),
        "always" => Ok(PullPolicy::Always),
        "never" => Ok(PullPolicy::Never),
        _ => Err(ParseError::new(text, "a pull policy is missing, always or never")),
    }
}

fn check_healthcheck(service: &Service, errors: &mut Vec<ConfigError>) {
    use crate::spec::HealthTest;
    let Some(check) = &service.healthcheck else { return };
    let mut fail = |field: &str, problem: &str| {
        let key = format!("service.{}.healthcheck.{field}", service.name);
        errors.push(ConfigError::new(key, problem));
    };
    match &check.test {
        Some(HealthTest::Command(words)) if words.first().is_none_or(String::is_empty) => {
            fail("test", "the command is empty");
        }
        Some(HealthTest::Shell(line)) if line.trim().is_empty() => fail("test", "the command is empty"),
        _ => {}
    }
    for (field, duration) in [("interval", check.interval), ("timeout", check.timeout)] {
        if duration.is_some_and(|duration| duration.is_zero()) {
            fail(field, "the time is longer than zero");
        }
    }
    if check.retries == Some(0) {
        fail("retries", "at least 1");
    }
}

/// RFC 1123: labels of letters, digits and hyphens, no hyphen at either end; `_` as Docker has it.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}
