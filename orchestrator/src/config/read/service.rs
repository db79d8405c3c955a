//! A service of the canonical tree.

use std::collections::BTreeMap;

use super::Reading;
use super::fields::Fields;
use crate::config::tree::{Entry, Node, Scalar, Value};
use crate::config::{
    Condition, DependsOn, EnvFile, GroupVolumeMount, Healthcheck, NetworkConfig, SecretMount, Service,
    WatchAction, WatchRule,
};
use crate::spec::{HealthTest, parse_cpu_limit, parse_health_http, parse_health_tcp, parse_ram_mib};

pub(super) fn read(reading: &mut Reading, entry: &Entry) -> Service {
    let key = format!("service.{}", entry.key);
    reading.note(key.clone(), &entry.at);
    let mut service = Service { name: entry.key.clone(), ..Service::default() };
    let Some(table) = entry.node.as_table() else { return service };
    let mut fields = Fields::new(reading, table, &key);
    command(&mut fields, &mut service);
    machine(&mut fields, &mut service);
    sharing(&mut fields, &mut service);
    network(&mut fields, &mut service);
    life(&mut fields, &mut service);
    service.depends_on = depends_on(&mut fields);
    service.healthcheck = healthcheck(&mut fields);
    service.env_files = env_files(&mut fields);
    service.secrets = secrets(&mut fields);
    service.group_volumes = group_volumes(&mut fields);
    service.watch = watch(&mut fields);
    fields.finish();
    service
}

fn command(fields: &mut Fields<'_>, service: &mut Service) {
    service.base = fields.text("base").unwrap_or_default();
    service.command = fields.text("command");
    service.args = fields.texts("args");
    if fields.take("entrypoint").is_some() {
        service.entrypoint = Some(fields.texts("entrypoint"));
    }
    service.workdir = fields.text("workdir");
    service.user = fields.text("user");
    service.envs = fields.texts("envs");
    service.scripts = fields.map("scripts");
    service.tty = fields.flag("tty").unwrap_or(false);
    service.stdin_open = fields.flag("stdin_open").unwrap_or(false);
    service.init = fields.flag("init").unwrap_or(false);
    service.ulimits = fields.texts("ulimits");
}

fn machine(fields: &mut Fields<'_>, service: &mut Service) {
    let problem = |error: crate::spec::ParseError| error.problem().to_owned();
    if let Some(cpus) = fields.parsed("cpus", "a number", |_, text| parse_cpu_limit(text).map_err(problem)) {
        (service.cpus, service.cpu_millis) = (cpus.vcpus, cpus.limit_millis);
    }
    service.cpu_millis = fields.number("cpu_millis").or(service.cpu_millis);
    service.pids_limit = fields.number("pids_limit");
    let ram = fields.parsed("ram", "a number of MiB", |node, text| match &node.value {
        Value::Scalar(Scalar::Int, _) => text.parse().map_err(|_| "the number is out of range".to_owned()),
        _ => parse_ram_mib(text).map_err(problem),
    });
    service.ram = ram.unwrap_or(service.ram);
    service.shm_size = fields.text("shm_size");
    service.root_disk = fields.text("root_disk");
    service.read_only = fields.flag("read_only").unwrap_or(false);
    service.platform = fields.text("platform");
    service.pull_policy = fields.text("pull_policy");
}

fn sharing(fields: &mut Fields<'_>, service: &mut Service) {
    service.groups = fields.texts("group");
    service.group_envs = fields.texts("group_envs");
    service.volumes = fields.texts("volumes");
    service.mounts = fields.texts("mounts");
    service.tmpfs = fields.texts("tmpfs");
    service.labels = fields.map("labels");
    service.profiles = fields.texts("profiles");
}

fn network(fields: &mut Fields<'_>, service: &mut Service) {
    service.ports = fields.texts("ports");
    service.hostname = fields.text("hostname");
    service.extra_hosts = fields.texts("extra_hosts");
    service.dns = fields.texts("dns");
    service.dns_search = fields.texts("dns_search");
    service.aliases = fields.texts("aliases");
    service.links = fields.texts("links");
    if let Some(mut nested) = fields.nested("network") {
        service.network = NetworkConfig {
            mode: nested.text("mode"),
            reach: nested.text("reach"),
            allow: nested.texts("allow"),
            deny: nested.texts("deny"),
        };
        nested.finish();
    }
}

fn life(fields: &mut Fields<'_>, service: &mut Service) {
    service.container_name = fields.text("container_name");
    service.restart = fields.text("restart").map(|text| if text == "false" { "no".into() } else { text });
    service.stop_signal = fields.text("stop_signal");
    service.stop_grace_period = fields.duration("stop_grace_period");
    service.timeout = fields.duration("timeout");
    service.idle_timeout = fields.duration("idle_timeout");
    service.max_duration = fields.duration("max_duration");
    service.replicas = fields.number("replicas").unwrap_or(service.replicas);
}

fn depends_on(fields: &mut Fields<'_>) -> BTreeMap<String, DependsOn> {
    let mut all = BTreeMap::new();
    for entry in fields.entries("depends_on") {
        let Some(table) = entry.node.as_table() else {
            fields.wrong("depends_on", &entry.node, "a dependency is a table");
            continue;
        };
        let key = format!("depends_on.{}", entry.key);
        let mut nested = fields.below(&key, table);
        let condition = nested.parsed("condition", "a condition", |_, text| match text {
            "started" => Ok(Condition::Started),
            "healthy" => Ok(Condition::Healthy),
            "completed" => Ok(Condition::Completed),
            _ => Err("a condition is started, healthy or completed".into()),
        });
        let required = nested.flag("required").unwrap_or(true);
        nested.finish();
        all.insert(entry.key.clone(), DependsOn { condition: condition.unwrap_or_default(), required });
    }
    all
}

fn healthcheck(fields: &mut Fields<'_>) -> Option<Healthcheck> {
    let mut nested = fields.nested("healthcheck")?;
    let mut check = Healthcheck {
        test: nested
            .take("test")
            .and_then(|node| test(node).map_err(|problem| nested.wrong("test", node, &problem)).ok()),
        interval: nested.duration("interval"),
        timeout: nested.duration("timeout"),
        retries: nested.number("retries"),
        start_period: nested.duration("start_period"),
        start_interval: nested.duration("start_interval"),
    };
    if nested.flag("disable") == Some(true) {
        check.test = Some(HealthTest::None);
    }
    nested.finish();
    Some(check)
}

/// A line for the shell, or a list whose first word says what it is.
fn test(node: &Node) -> Result<HealthTest, String> {
    let Value::List(list) = &node.value else {
        return match node.as_text() {
            Some(line) => Ok(HealthTest::Shell(line.to_owned())),
            None => Err("a test is a text or a list of texts".into()),
        };
    };
    let words: Option<Vec<&str>> = list.iter().map(Node::as_text).collect();
    let words = words.ok_or("a test is a text or a list of texts")?;
    let problem = |error: crate::spec::ParseError| error.problem().to_owned();
    match words[..] {
        ["NONE"] => Ok(HealthTest::None),
        ["CMD-SHELL", line] => Ok(HealthTest::Shell(line.to_owned())),
        ["CMD", _, ..] => Ok(HealthTest::Command(words[1..].iter().map(|word| (*word).to_owned()).collect())),
        ["HTTP", place] => parse_health_http(place).map_err(problem),
        ["TCP", port] => parse_health_tcp(port).map_err(problem),
        _ => Err("a test is a text, or [\"CMD\", …], [\"CMD-SHELL\", LINE], [\"HTTP\", \"PORT/PATH\"], \
                  [\"TCP\", \"PORT\"] or [\"NONE\"]"
            .into()),
    }
}

fn env_files(fields: &mut Fields<'_>) -> Vec<EnvFile> {
    let mut files = Vec::new();
    for (index, node) in fields.list("env_file").into_iter().enumerate() {
        match (&node.value, node.as_text()) {
            (_, Some(path)) => files.push(EnvFile { path: path.to_owned(), required: true, raw: false }),
            (Value::Table(table), _) => {
                let mut nested = fields.below(&format!("env_file[{index}]"), table);
                let path = nested.text("path").unwrap_or_default();
                let required = nested.flag("required").unwrap_or(true);
                let raw = nested.flag("raw").unwrap_or(false);
                nested.finish();
                files.push(EnvFile { path, required, raw });
            }
            _ => fields.wrong("env_file", node, "expected the path of a file"),
        }
    }
    files
}

fn secrets(fields: &mut Fields<'_>) -> Vec<SecretMount> {
    let mut secrets = Vec::new();
    for (index, node) in fields.list("secrets").into_iter().enumerate() {
        match (&node.value, node.as_text()) {
            (_, Some(source)) => secrets.push(SecretMount { source: source.to_owned(), target: None }),
            (Value::Table(table), _) => {
                let mut nested = fields.below(&format!("secrets[{index}]"), table);
                let source = nested.text("source").unwrap_or_default();
                let target = nested.text("target");
                nested.finish();
                secrets.push(SecretMount { source, target });
            }
            _ => fields.wrong("secrets", node, "expected the name of a secret"),
        }
    }
    secrets
}

fn group_volumes(fields: &mut Fields<'_>) -> Vec<GroupVolumeMount> {
    let mut mounts = Vec::new();
    for (index, node) in fields.list("group_volumes").into_iter().enumerate() {
        let key = format!("group_volumes[{index}]");
        let Some(table) = node.as_table() else {
            let problem = "expected a table, for instance { name = \"shared\", path = \"/data\" }";
            fields.wrong(&key, node, problem);
            continue;
        };
        let mut nested = fields.below(&key, table);
        let name = nested.text("name").unwrap_or_default();
        let path = nested.text("path").unwrap_or_default();
        nested.finish();
        mounts.push(GroupVolumeMount { name, path });
    }
    mounts
}

fn watch(fields: &mut Fields<'_>) -> Vec<WatchRule> {
    let mut rules = Vec::new();
    for (index, node) in fields.list("watch").into_iter().enumerate() {
        let key = format!("watch[{index}]");
        let Some(table) = node.as_table() else {
            let problem = "expected a table, for instance { path = \"src\", target = \"/app/src\" }";
            fields.wrong(&key, node, problem);
            continue;
        };
        let mut nested = fields.below(&key, table);
        let rule = WatchRule {
            path: nested.text("path").unwrap_or_default(),
            action: nested
                .parsed("action", "an action", |_, text| WatchAction::parse(text))
                .unwrap_or_default(),
            target: nested.text("target"),
            ignore: nested.texts("ignore"),
            include: nested.texts("include"),
            initial_sync: nested.flag("initial_sync").unwrap_or(false),
        };
        nested.finish();
        rules.push(rule);
    }
    rules
}
