//! Files that are right: merged, included, extended, with variables and profiles.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::spec::{EnvVar, MountSource};

/// Loads files of a directory; those beginning with `+` are only there.
fn load_in(
    dir: &Path,
    files: &[(&str, &str)],
    change: impl FnOnce(&mut LoadOptions),
) -> Result<Project, ConfigErrors> {
    let mut options = LoadOptions { project_name: Some("demo".into()), ..LoadOptions::default() };
    for (name, text) in files {
        let path = dir.join(name.trim_start_matches('+'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        if !name.starts_with('+') {
            options.files.push(path);
        }
    }
    change(&mut options);
    load(&options)
}

/// [`load_in`] a directory that is gone afterwards.
fn load_with(files: &[(&str, &str)], change: impl FnOnce(&mut LoadOptions)) -> Result<Project, String> {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().display().to_string();
    load_in(dir.path(), files, change).map_err(|errors| errors.to_string().replace(&prefix, ""))
}

fn loaded(files: &[(&str, &str)]) -> Project {
    load_with(files, |_| ()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn service<'a>(project: &'a Project, name: &str) -> &'a Service {
    project.config.service(name).unwrap()
}

#[test]
fn what_well_known_compose_files_have_is_understood() {
    let text = r#"
services:
  app:
    image: x
    profiles: ["", extra]
    container_name: name-dev.odd
    volumes: ["./data:/data:Z", "./conf.yml:/conf.yml:ro,z", "cache:/cache:z"]
    environment: {SCALE: 16.8, FLAG: true, EMPTY: , URL: "${MISSING:-http://x:80/y?z=1}"}
    extra_hosts: ["host.docker.internal:host-gateway"]
    command: >
      postgres -c 'max_connections=${MAX:-100}'
               -c 'work_mem=${MEM:-4MB}'
    shm_size: 128mb
    healthcheck: {disable: false}
  other:
    image: x
    profiles: [only]
    depends_on: [app]
volumes: {cache: }
"#;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), text).unwrap();
    let options = LoadOptions { project_dir: Some(dir.path().to_path_buf()), ..LoadOptions::default() };
    let options = LoadOptions { project_name: Some("odd".into()), ..options };
    let project = load(&options).unwrap();
    let names: Vec<_> = project.config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["app"], "the empty profile is active, another one is not");
    let app = &project.config.services[0];
    assert_eq!(app.args, ["postgres", "-c", "max_connections=100", "-c", "work_mem=4MB"]);
    assert!(
        app.envs.contains(&"SCALE=16.8".to_owned()) && app.envs.contains(&"URL=http://x:80/y?z=1".to_owned())
    );
    let spec = app.sandbox_spec(&project).unwrap();
    assert_eq!(spec.hosts[0].address, std::net::IpAddr::from(monocore_spec::LinkSpec::default().gateway_v4));
}

#[test]
fn the_example_of_the_guide_runs_as_written() {
    let text = r#"
[[service]]
name = "counter"
base = "alpine:latest"
ram = 512
group = "demo"
command = "/bin/sh"
args = ["-c", "for i in $(seq 1 20); do echo $i; sleep 2; done"]

[[service]]
name = "date-service"
base = "alpine:latest"
ram = 256
group = "demo"
depends_on = ["counter"]
command = "/bin/sh"
args = ["-c", "while true; do date; sleep 3; done"]

[[group]]
name = "demo"
local_only = true
"#;
    let project = loaded(&[("monocore.toml", text)]);
    assert_eq!(service(&project, "counter").args[1], "for i in $(seq 1 20); do echo $i; sleep 2; done");
    assert_eq!(project.config.start_order().len(), 2);
    assert_eq!(project.warnings, [""; 0]);
}

#[test]
fn every_key_of_the_mission_is_read() {
    let text = r#"
[[service]]
name = "service-name"
base = "image:tag"
group = "group-name"
command = "/path/to/binary"
args = ["arg1", "arg2"]
cpus = 1
ram = 1024
workdir = "/app"
port = "8080:80"
volumes = ["/host:/guest"]
envs = ["KEY=value"]
depends_on = ["other-service"]
group_envs = ["prod"]
group_volumes = [{ name = "shared-data", path = "/data:/data" }]
[[service]]
name = "other-service"
base = "image:tag"
[[group]]
name = "group-name"
local_only = true
[[group.volume]]
name = "shared-data"
path = "/data"
[[group.env]]
name = "prod"
envs = ["API_KEY=value"]
"#;
    let project = loaded(&[("monocore.toml", text)]);
    let spec = service(&project, "service-name").sandbox_spec(&project).unwrap();
    assert_eq!(spec.process.env.len(), 2);
    assert_eq!(spec.mounts.len(), 2);
    assert_eq!(spec.network.publish.len(), 1);
}

#[test]
fn later_files_join_as_compose_joins_them() {
    let base = "
services:
  web:
    image: a
    command: [one, two]
    environment: {A: '1', B: '2'}
    labels: [x=1]
    ports: ['80:80']
    volumes: ['./src:/src', 'data:/data']
    depends_on: [db]
    healthcheck: {test: [CMD, old, words], interval: 3s}
    networks: [front]
  db: {image: b, ports: ['81:81'], environment: {A: '1'}}
networks: {front: {}}
volumes: {data: {}}
";
    let over = "
services:
  web:
    command: three
    environment: [B=3, C]
    labels: {x: '2', y: '3'}
    ports: ['90:90', '80:80']
    volumes: ['/other:/src']
    depends_on: {db: {condition: service_healthy}}
    healthcheck: {test: new}
  db: {ports: !override ['82:81'], environment: !reset null, image: c}
";
    let project = loaded(&[("compose.yaml", base), ("compose.override.yaml", over)]);
    let web = service(&project, "web");
    assert_eq!(web.args, ["three"]);
    assert_eq!(web.envs, ["A=1", "B=3", "C"]);
    assert_eq!(web.labels, BTreeMap::from([("x".into(), "2".into()), ("y".into(), "3".into())]));
    assert_eq!(web.ports, ["80:80", "90:90"]);
    assert_eq!(web.volumes, ["data:/data", "/other:/src"]);
    assert_eq!(web.depends_on["db"].condition, Condition::Healthy);
    assert_eq!(web.groups, ["front"]);
    let check = web.healthcheck.as_ref().unwrap();
    assert_eq!(check.test, Some(HealthTest::Shell("new".into())));
    assert_eq!(check.interval.unwrap().as_secs(), 3);
    let db = service(&project, "db");
    assert_eq!((db.ports.clone(), db.envs.clone(), db.base.as_str()), (vec!["82:81".into()], vec![], "c"));
    assert_eq!(db.groups, ["default"]);
}

#[test]
fn anchors_and_merge_keys() {
    let text = "
x-common: &common
  image: a
  environment: &env {A: '1'}
services:
  web:
    <<: *common
    environment: {<<: *env, B: '2'}
  api:
    <<: [*common, {user: nobody}]
    image: b
";
    let project = loaded(&[("compose.yaml", text)]);
    assert_eq!(service(&project, "web").envs, ["B=2", "A=1"]);
    let api = service(&project, "api");
    assert_eq!((api.base.as_str(), api.user.as_deref()), ("b", Some("nobody")));
}

#[test]
fn variables_of_the_caller_count_more_than_those_of_files() {
    let text = "
services:
  web:
    image: a:${TAG:-latest}
    cpus: ${CPUS}
    environment:
      TAG:
      LITERAL: $$HOME
      DB: ${MISSING-none}
    command: echo ${GONE}
";
    let env = ("+.env", "TAG=file\nCPUS=2\n");
    let project = load_with(&[("compose.yaml", text), env], |options| {
        options.environment.insert("TAG".into(), "caller".into());
    })
    .unwrap();
    let web = service(&project, "web");
    assert_eq!((web.base.as_str(), web.cpus), ("a:caller", 2));
    assert_eq!(web.envs, ["TAG", "LITERAL=$HOME", "DB=none"]);
    assert_eq!(project.warnings, ["variable GONE is not set: it counts as empty"]);
    let spec = web.sandbox_spec(&project).unwrap();
    assert!(spec.process.env.contains(&EnvVar { name: "TAG".into(), value: "caller".into() }));
}

#[test]
fn environment_files_and_their_order() {
    let text = "
services:
  web:
    image: a
    env_file: [a.env, {path: b.env, required: false}, {path: c.env, format: raw}]
    environment: {C: own}
";
    let files = [("compose.yaml", text), ("+a.env", "A='1'\nC=x\n"), ("+c.env", "R='raw'\n")];
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name.trim_start_matches('+')), text).unwrap();
    }
    let options = LoadOptions { project_dir: Some(dir.path().into()), ..LoadOptions::default() };
    let project = load(&options).unwrap();
    let spec = service(&project, "web").sandbox_spec(&project).unwrap();
    let var = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
    assert_eq!(spec.process.env, [var("A", "1"), var("C", "own"), var("R", "'raw'")]);
}

#[test]
fn includes_have_directories_of_their_own() {
    let files = [
        (
            "monocore.toml",
            "include = ['sub/compose.yaml']\n[[service]]\nname='a'\nbase='x'\ndepends_on=['b']\n",
        ),
        (
            "+sub/compose.yaml",
            "services:\n  b:\n    image: y:${TAG}\n    volumes: [./data:/data, v:/v]\n    env_file: b.env\n    \
             extends: {file: ../base/base.yaml, service: base}\nvolumes: {v: }\n",
        ),
        ("+sub/.env", "TAG=sub\n"),
        ("+sub/b.env", "B=1\n"),
        ("+base/base.yaml", "services:\n  base:\n    image: z\n    volumes: [./base:/base]\n    user: app\n"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let project = load_in(dir.path(), &files, |_| ()).unwrap();
    let b = service(&project, "b");
    assert_eq!((b.base.as_str(), b.user.as_deref()), ("y:sub", Some("app")));
    let spec = b.sandbox_spec(&project).unwrap();
    let path = |index: usize| match &spec.mounts[index].source {
        MountSource::Bind { path, .. } => path.strip_prefix(&project.dir).unwrap().to_path_buf(),
        MountSource::Volume(name) => name.into(),
        other => panic!("{other:?}"),
    };
    let paths = [path(0), path(1), path(2)].map(|path| path.display().to_string());
    assert_eq!(paths, ["sub/../base/base", "sub/data", "demo_v"]);
    assert_eq!(project.files.len(), 3);
}

#[test]
fn a_service_extends_another_of_its_file() {
    let text = "
[[service]]
name = 'base'
base = 'x'
envs = ['A=1', 'B=1']
port = '0:80'
[[service]]
name = 'web'
extends = 'base'
envs = ['B=2']
ports = ['0:81']
[[service]]
name = 'more'
extends = { service = 'web' }
ram = 256
";
    let project = loaded(&[("monocore.toml", text)]);
    let more = service(&project, "more");
    assert_eq!((more.base.as_str(), more.ram), ("x", 256));
    assert_eq!(more.envs, ["A=1", "B=2"]);
    assert_eq!(more.ports, ["0:80", "0:81"]);
}

#[test]
fn profiles_choose_services() {
    let text = "
services:
  web: {image: a}
  debug: {image: b, profiles: [debug, test]}
  other: {image: c, profiles: [other], depends_on: [debug]}
";
    let names = |profiles: &[&str]| {
        let project = load_with(&[("compose.yaml", text)], |options| {
            options.profiles = profiles.iter().map(|profile| (*profile).to_owned()).collect();
        })?;
        Ok::<_, String>(
            project.config.services.iter().map(|service| service.name.clone()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(names(&[]).unwrap(), ["web"]);
    assert_eq!(names(&["test"]).unwrap(), ["web", "debug"]);
    assert_eq!(names(&["*"]).unwrap(), ["web", "debug", "other"]);
    let error = names(&["other"]).unwrap_err();
    assert!(error.contains("service.other.depends_on.debug"), "{error}");
}

#[test]
fn the_nearest_directory_with_a_file_is_the_project() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("My.Project/a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let root = dir.path().join("My.Project");
    std::fs::write(root.join("docker-compose.yml"), "services: {a: {image: x}}").unwrap();
    std::fs::write(root.join("docker-compose.override.yml"), "services: {a: {user: me}}").unwrap();
    let load_at = || load(&LoadOptions { project_dir: Some(deep.clone()), ..LoadOptions::default() });
    let project = load_at().unwrap();
    assert_eq!(project.config.services[0].user.as_deref(), Some("me"));
    assert_eq!(project.files.len(), 2);
    std::fs::write(root.join("monocore.yaml"), "service: {b: {base: x}}").unwrap();
    assert_eq!(load_at().unwrap().config.services[0].name, "b");
    let nothing = load(&LoadOptions { project_dir: Some("/proc/self".into()), ..LoadOptions::default() });
    let message = nothing.unwrap_err().to_string();
    assert!(message.starts_with("no project in /proc/self or above"), "{message}");
}

#[test]
fn a_project_has_the_name_of_its_directory() {
    let name = |dir: &str| super::super::find::name_of(Path::new(dir));
    assert_eq!(name("/srv/My.App_2").as_deref(), Some("myapp_2"));
    assert_eq!(name("/srv/-x").as_deref(), Some("x"));
    assert_eq!(name("/"), None);
}

#[test]
fn what_compose_publishes_stays_on_loopback() {
    let text = "
services:
  web: {image: a, ports: ['8080:80', '0.0.0.0:90:90', '3000']}
  api: {image: a, ports: [81]}
";
    let project = loaded(&[("compose.yaml", text)]);
    assert_eq!(service(&project, "web").ports, ["127.0.0.1:8080:80", "0.0.0.0:90:90", "127.0.0.1::3000"]);
    assert_eq!(service(&project, "api").ports, ["127.0.0.1::81"]);
    let publish = service(&project, "web").sandbox_spec(&project).unwrap().network.publish;
    let addresses: Vec<String> = publish.iter().map(|port| port.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1", "0.0.0.0", "127.0.0.1"]);
}

#[test]
fn names_that_begin_like_the_users_own_keys_are_names() {
    let text = "services: {x-web: {image: a, labels: {x-label: b}, x-note: 1}}";
    let project = loaded(&[("compose.yaml", text)]);
    assert_eq!(service(&project, "x-web").labels["x-label"], "b");
}

#[test]
fn a_link_is_a_name_and_a_need() {
    let text =
        "services: {web: {image: a, links: ['db:database', cache]}, db: {image: a}, cache: {image: a}}";
    let project = loaded(&[("compose.yaml", text)]);
    assert_eq!(service(&project, "web").depends_on.len(), 2);
    let groups = service(&project, "web").sandbox_spec(&project).unwrap().network.groups;
    assert_eq!(groups[0].links, BTreeMap::from([("database".into(), "db".into())]));
}

#[test]
fn what_is_passed_over_is_said() {
    let text = "
services:
  web:
    image: a
    privileged: true
    cap_drop: [ALL]
    logging: {driver: syslog}
    deploy: {placement: {constraints: [node.role == manager]}}
";
    let project = loaded(&[("compose.yaml", text)]);
    let warnings: Vec<&str> =
        project.warnings.iter().filter_map(|warning| warning.split("compose.yaml").nth(1)).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].starts_with(":5:5: service.web.privileged: ignored: "), "{warnings:?}");
}
