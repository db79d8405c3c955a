//! The same project in every syntax is the same model; what is written is read again.

use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn parse(file: &str, text: &str) -> Monocore {
    Monocore::parse(Path::new(file), text, &Default::default())
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

const TOML: &str = r#"
[[service]]
name = "web"
base = "nginx:1"
group = "front"
args = ["nginx", "-g", "daemon off;"]
ram = 512
cpus = 1.5
port = "8080:80"
volumes = ["./html:/usr/share/nginx/html:ro", "cache:/var/cache"]
mounts = ["type=volume,target=/anonymous"]
tmpfs = ["/tmp:size=64m"]
envs = ["A=1", "B"]
depends_on = { db = "healthy", job = "completed" }
restart = "on-failure:3"
user = "1000"
workdir = "/app"
stop_grace_period = "90s"
ulimits = ["nofile=1024:4096", "nproc=10"]
labels = { "com.example" = "x" }
replicas = 1
aliases = ["www"]
watch = [{ path = "./src", target = "/app", ignore = ["*.log"] }, { path = "conf", action = "restart" }]

[[service]]
name = "db"
base = "postgres:16"
group = ["front", "back"]
healthcheck = { test = ["CMD", "pg_isready"], interval = "10s", retries = 5 }
secrets = ["password"]
extra_hosts = ["other=10.0.0.1"]

[[service]]
name = "job"
base = "x"
network = "none"
entrypoint = ["/bin/job"]

[[group]]
name = "front"
[[group]]
name = "back"
internal = true
[[volume]]
name = "cache"
[[secret]]
name = "password"
file = "./password.txt"
"#;

const YAML: &str = r#"
service:
  web:
    base: nginx:1
    group: front
    args: [nginx, -g, daemon off;]
    ram: 512
    cpus: 1.5
    port: 8080:80
    volumes: ["./html:/usr/share/nginx/html:ro", "cache:/var/cache"]
    mounts: ["type=volume,target=/anonymous"]
    tmpfs: /tmp:size=64m
    envs: {A: 1, B: }
    depends_on: {db: healthy, job: {condition: completed}}
    restart: on-failure:3
    user: 1000
    workdir: /app
    stop_grace_period: 1m30s
    ulimits: [nofile=1024:4096, nproc=10]
    labels: [com.example=x]
    aliases: www
    watch: [{path: ./src, target: /app, action: sync, ignore: "*.log"}, {path: conf, action: restart}]
  db:
    base: postgres:16
    group: [front, back]
    healthcheck: {test: [CMD, pg_isready], interval: 10s, retries: 5}
    secrets: [password]
    extra_hosts: other=10.0.0.1
  job: {base: x, network: none, entrypoint: /bin/job}
group:
  - name: front
  - {name: back, internal: true}
volume: {cache: }
secret: {password: {file: ./password.txt}}
"#;

const COMPOSE: &str = r#"
services:
  web:
    image: nginx:1
    networks: {front: {aliases: [www]}}
    command: nginx -g "daemon off;"
    mem_limit: 512m
    cpus: "1.5"
    ports: [{target: 80, published: "8080"}]
    volumes:
      - {type: bind, source: ./html, target: /usr/share/nginx/html, read_only: true}
      - cache:/var/cache
      - /anonymous
    tmpfs: /tmp:size=64m
    environment: {A: 1, B: }
    depends_on:
      db: {condition: service_healthy}
      job: {condition: service_completed_successfully}
    restart: on-failure:3
    user: "1000"
    working_dir: /app
    stop_grace_period: 1m30s
    ulimits: {nofile: {soft: 1024, hard: 4096}, nproc: 10}
    labels: {com.example: x}
    develop:
      watch:
        - {action: sync, path: ./src, target: /app, ignore: ["*.log"]}
        - {action: restart, path: conf}
        - {action: rebuild, path: package.json}
  db:
    image: postgres:16
    networks: [front, back]
    healthcheck: {test: [CMD, pg_isready], interval: 10s, retries: 5}
    secrets: [password]
    extra_hosts: {other: 10.0.0.1}
  job: {image: x, network_mode: none, entrypoint: /bin/job}
networks: {front: , back: {internal: true}}
volumes: {cache: }
secrets: {password: {file: ./password.txt}}
"#;

#[test]
fn three_syntaxes_give_one_model() {
    let toml = parse("monocore.toml", TOML);
    assert_eq!(parse("monocore.yaml", YAML), toml);
    assert_eq!(parse("compose.yaml", COMPOSE), toml);
}

/// What is written as TOML, and as JSON for other programs, is read again.
fn round(config: &Monocore) -> Result<(), TestCaseError> {
    let toml = config.to_toml();
    let again = Monocore::parse(Path::new("monocore.toml"), &toml, &Default::default());
    prop_assert_eq!(again.as_ref(), Ok(config), "{}", toml);
    let json = serde_json::to_string(config).expect("plain data");
    let again = serde_json::from_str::<Monocore>(&json);
    prop_assert_eq!(again.as_ref().map_err(ToString::to_string), Ok(config), "{}", json);
    Ok(())
}

#[test]
fn what_is_written_is_read_again() {
    for config in [parse("monocore.toml", TOML), super::schema::full()] {
        round(&config).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A text with what quoting and variables could break.
fn text() -> impl Strategy<Value = String> {
    "[ -~äß\n\t]{0,12}|[^\\x00]{0,3}\\$\\{A\\}|\\$\\$\\{[a-z:-]{0,4}|true|null|~|0x1f|1e3|- a|#x|: "
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,5}"
}

prop_compose! {
    fn command()(
        command in of("/bin/[a-z]{1,4}"),
        args in vec(text(), 0..4),
        entrypoint in of(vec(text(), 0..3)),
        scripts in btree_map(name(), text(), 0..2),
        workdir in of("/[a-z]{0,4}"),
        user in of("[a-z0-9]{1,4}"),
        envs in vec(("[A-Z]{1,3}", text()), 0..3),
        tty in any::<bool>(),
        stdin_open in any::<bool>(),
    ) -> Service {
        Service {
            entrypoint: if command.is_some() { None } else { entrypoint },
            command,
            args,
            scripts,
            workdir,
            user,
            envs: envs.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            tty,
            stdin_open,
            ..Service::default()
        }
    }
}

prop_compose! {
    fn service(index: usize)(
        command in command(),
        cpus in 1u8..=64,
        cpu_millis in of(10u32..64_000),
        pids_limit in of(0u64..9000),
        ram in 64u32..100_000,
        ports in vec(1u16..=u16::MAX, 0..3),
        mount in of("/[a-z]{1,5}(:/[a-z]{1,5}){1,1}(:ro){0,1}|[a-z]{1,4}:/[a-z]{1,4}"),
        labels in btree_map("[a-z.]{1,6}", text(), 0..3),
        restart in of("no|always|unless-stopped|on-failure(:[1-9]){0,1}"),
        grace in of(0u64..100_000),
        check in of((of(text()), of(1u64..5000), of(1u32..9))),
        profiles in vec(name(), 0..2),
        replicas in 0u16..=1,
        reach in of("none|public|any"),
        allow in vec("[a-z]{1,5}\\.com", 0..2),
        groups in vec(0usize..3, 0..3),
    ) -> Service {
        let groups: std::collections::BTreeSet<usize> = groups.into_iter().collect();
        let cpu_millis = cpu_millis.filter(|millis| millis % 1000 != 0);
        let cpus = cpu_millis.map_or(cpus, |millis| u8::try_from(millis.div_ceil(1000)).unwrap());
        Service {
            name: format!("s{index}"),
            base: format!("image:{index}"),
            groups: groups.into_iter().map(|group| format!("g{group}")).collect(),
            cpus,
            cpu_millis,
            pids_limit,
            ram,
            ports: ports.into_iter().map(|port| format!("0:{port}")).collect(),
            volumes: mount.into_iter().collect(),
            labels,
            restart,
            stop_grace_period: grace.map(std::time::Duration::from_millis),
            healthcheck: check.map(|(test, interval, retries)| Healthcheck {
                test: test.filter(|test| !test.trim().is_empty()).map(HealthTest::Shell),
                interval: interval.map(std::time::Duration::from_millis),
                retries,
                ..Healthcheck::default()
            }),
            profiles,
            replicas,
            network: NetworkConfig { mode: None, reach, allow, deny: Vec::new() },
            ..command
        }
    }
}

fn config() -> impl Strategy<Value = Monocore> {
    let services = (1usize..6).prop_flat_map(|count| (0..count).map(service).collect::<Vec<_>>());
    let needs = vec((0usize..6, 0usize..6, 0u8..3), 0..6);
    let groups = vec((any::<bool>(), any::<bool>()), 3..=3);
    (services, needs, groups).prop_map(|(mut services, needs, groups)| {
        let condition = [Condition::Started, Condition::Healthy, Condition::Completed];
        for (from, to, which) in needs {
            // Later services need earlier ones: no cycle.
            if to < from && from < services.len() {
                let need = DependsOn { condition: condition[usize::from(which)], required: true };
                let _ = services[from].depends_on.insert(format!("s{to}"), need);
            }
        }
        let group = |(index, (local_only, internal)): (usize, (bool, bool))| Group {
            name: format!("g{index}"),
            local_only,
            internal,
            ..Group::default()
        };
        Monocore {
            services,
            groups: groups.into_iter().enumerate().map(group).collect(),
            ..Monocore::default()
        }
    })
}

fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "service_started",
        Condition::Healthy => "service_healthy",
        Condition::Completed => "service_completed_successfully",
    }
}

/// The Compose file of a model, as JSON, which YAML contains.
fn compose(config: &Monocore) -> String {
    // Where Compose replaces variables, `$$` is a dollar sign.
    let text = |text: &str| Value::String(text.replace('$', "$$"));
    let texts = |list: &[String]| Value::Array(list.iter().map(|item| text(item)).collect());
    let mut services = Map::new();
    for service in &config.services {
        let mut all = Map::new();
        all.insert("image".into(), text(&service.base));
        all.insert("networks".into(), texts(&service.groups));
        let entrypoint = service.command.clone().map(|command| vec![command]).or(service.entrypoint.clone());
        all.extend(entrypoint.map(|words| ("entrypoint".to_owned(), texts(&words))));
        all.insert("command".into(), texts(&service.args));
        all.insert("environment".into(), texts(&service.envs));
        let fraction = |millis: u32| format!("{}.{:03}", millis / 1000, millis % 1000);
        let cpus = service.cpu_millis.map_or_else(|| service.cpus.to_string(), fraction);
        all.insert("cpus".into(), json!(cpus));
        all.extend(service.pids_limit.map(|most| ("pids_limit".to_owned(), json!(most))));
        all.insert("mem_limit".into(), json!(format!("{}m", service.ram)));
        all.insert("ports".into(), texts(&service.ports));
        all.insert("volumes".into(), texts(&service.volumes));
        let labels = service.labels.iter().map(|(name, value)| (name.clone(), text(value)));
        all.insert("labels".into(), Value::Object(labels.collect()));
        let needs = service.depends_on.iter().map(|(name, need)| {
            (name.clone(), json!({ "condition": condition(need.condition), "restart": true }))
        });
        all.insert("depends_on".into(), Value::Object(needs.collect()));
        for (key, value) in
            [("restart", &service.restart), ("working_dir", &service.workdir), ("user", &service.user)]
        {
            all.extend(value.as_ref().map(|value| (key.to_owned(), text(value))));
        }
        let duration = |duration: std::time::Duration| json!(format!("{}ms", duration.as_millis()));
        all.extend(service.stop_grace_period.map(|grace| ("stop_grace_period".to_owned(), duration(grace))));
        all.extend(service.healthcheck.as_ref().map(|check| {
            let mut healthcheck = Map::new();
            if let Some(HealthTest::Shell(line)) = &check.test {
                healthcheck.insert("test".into(), json!(["CMD-SHELL", text(line)]));
            }
            healthcheck.extend(check.interval.map(|interval| ("interval".to_owned(), duration(interval))));
            healthcheck.extend(check.retries.map(|retries| ("retries".to_owned(), json!(retries))));
            ("healthcheck".to_owned(), Value::Object(healthcheck))
        }));
        all.insert("profiles".into(), texts(&service.profiles));
        all.insert("deploy".into(), json!({ "replicas": service.replicas }));
        all.insert("tty".into(), json!(service.tty));
        all.insert("stdin_open".into(), json!(service.stdin_open));
        services.insert(service.name.clone(), Value::Object(all));
    }
    let networks =
        config.groups.iter().map(|group| (group.name.clone(), json!({ "internal": group.internal })));
    let named =
        config.services.iter().flat_map(|service| &service.volumes).filter(|text| !text.starts_with('/'));
    let volumes = named.map(|text| (text.split(':').next().unwrap_or_default().to_owned(), Value::Null));
    let file = json!({
        "services": services,
        "networks": networks.collect::<Map<_, _>>(),
        "volumes": volumes.collect::<Map<_, _>>(),
    });
    file.to_string()
}

/// What a Compose file cannot say.
fn without_our_own(mut config: Monocore) -> Monocore {
    for service in &mut config.services {
        if service.groups.is_empty() {
            service.groups.push("g0".into());
        }
        service.scripts.clear();
        service.network = NetworkConfig::default();
        if let Some(command) = service.command.take() {
            service.entrypoint = Some(vec![command]);
        }
        if service.ram % 2 == 1 {
            service.ram += 1;
        }
    }
    for group in &mut config.groups {
        group.local_only = true;
    }
    for service in &config.services {
        for text in service.volumes.iter().filter(|text| !text.starts_with('/')) {
            let name = text.split(':').next().unwrap_or_default().to_owned();
            if !config.volumes.iter().any(|volume| volume.name == name) {
                config.volumes.push(NamedVolume { name, ..NamedVolume::default() });
            }
        }
    }
    config.volumes.sort_by(|a, b| a.name.cmp(&b.name));
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_project_is_read_again(config in config()) {
        prop_assert_eq!(config.validate(), Ok(()));
        round(&config)?;
    }

    #[test]
    fn any_project_is_the_same_from_compose(config in config()) {
        let config = without_our_own(config);
        let text = compose(&config);
        let mut read = Monocore::parse(Path::new("compose.yaml"), &text, &Default::default());
        if let Ok(read) = &mut read {
            read.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        prop_assert_eq!(read.as_ref(), Ok(&config), "{}", text);
    }

    #[test]
    fn any_text_gives_a_model_or_errors(text in "\\PC{0,60}|([a-z\\-\\[\\]{}:&*#<>!'\"$ \n]{0,4}){0,30}") {
        for file in ["monocore.toml", "monocore.yaml", "compose.yaml"] {
            let _ = Monocore::parse(Path::new(file), &text, &Default::default());
        }
    }
}
