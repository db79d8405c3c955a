//! The model, its rules and what a service becomes.

use std::ffi::OsString;
use std::path::PathBuf;

use monocore_spec::Reach;

use super::*;
use crate::spec::{EnvVar, MountSource, RootSource};

fn app() -> ServiceBuilder {
    Service::builder_default().name("app").base("alpine:latest")
}

fn problems(
    services: impl IntoIterator<Item = Service>,
    groups: impl IntoIterator<Item = Group>,
) -> Vec<String> {
    match Monocore::builder().services(services).groups(groups).build() {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_program_of_the_guide_builds_a_project() {
    let service = Service::builder_default()
        .name("app")
        .base("alpine:latest")
        .ram(512)
        .group("main")
        .command("/bin/sleep")
        .args(["infinity"])
        .build();
    let config = Monocore::builder()
        .services(vec![service])
        .groups(vec![Group::builder().name("main").build()])
        .build()
        .unwrap();
    let project = Project::new("demo", "/srv/demo", config).unwrap();
    let spec = project.config.services[0].sandbox_spec(&project).unwrap();
    assert_eq!(spec.machine.ram_mib, 512);
    assert_eq!(spec.process.entrypoint, Some(vec![OsString::from("/bin/sleep")]));
    assert_eq!(spec.process.args, ["infinity"]);
    assert!(matches!(&spec.root.source, RootSource::Image(image) if image.reference == "alpine:latest"));
    assert_eq!(spec.labels["dev.monocore.project"], "demo");
    assert_eq!(spec.labels["dev.monocore.service"], "app");
    assert_eq!(spec.network.policy.reach, Reach::Public);
}

#[test]
fn every_problem_is_found_at_once() {
    let first = app().group("mian").port("70000:80").volumes(["x:y"]).depends_on(["db"]).cpus(0).build();
    let found = problems([first, app().build()], [Group::builder().name("main").build()]);
    for expected in [
        "service[1].name: \"app\": two services have this name",
        "service.app.group[0]: \"mian\": no group has this name; did you mean `main`?",
        "service.app.ports[0]: \"70000:80\": publish [ADDRESS:][HOST]:GUEST[/udp], ports or ranges of as many ports",
        "service.app.volumes[0]: \"x:y\": the target \"y\" is no absolute path below /",
        "service.app.depends_on.db: \"db\": no service has this name; there are app, app",
        "service.app.cpus: \"0\": a service has 1 to 64 CPUs",
    ] {
        assert!(found.iter().any(|found| found == expected), "{expected}\n{found:#?}");
    }
}

fn chain(length: usize) -> Vec<Service> {
    let service = |index: usize| {
        let builder = Service::builder_default().name(format!("s{index:04}")).base("a");
        if index == 0 { builder } else { builder.depends_on([format!("s{:04}", index - 1)]) }.build()
    };
    (0..length).map(service).collect()
}

#[test]
fn chains_have_a_length() {
    let config = Monocore::builder().services(chain(32)).build().unwrap();
    assert_eq!(config.start_order().len(), 32);
    let found = problems(chain(40), []);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("service.s0032.depends_on: "), "{found:?}");
    // A chain of any length does not exhaust the stack.
    assert_eq!(problems(chain(2_000), []).len(), 1);
}

#[test]
fn cycles_are_named() {
    let service = |name: &str, needs: &[&str]| {
        Service::builder_default().name(name).base("a").depends_on(needs.iter().copied()).build()
    };
    let found = problems([service("a", &["b"]), service("b", &["c"]), service("c", &["a"])], []);
    let expected = "service.a.depends_on.b: \"b\": the services depend on each other: a -> b -> c -> a";
    assert_eq!(found, [expected]);
    assert_eq!(problems([service("a", &["a"])], []).len(), 1);
}

#[test]
fn levels_start_in_order() {
    let service = |name: &str, needs: &[&str]| {
        Service::builder_default().name(name).base("a").depends_on(needs.iter().copied()).build()
    };
    let services = [
        service("web", &["api", "cache"]),
        service("api", &["db"]),
        service("db", &[]),
        service("cache", &[]),
    ];
    let config = Monocore::builder().services(services).build().unwrap();
    let names: Vec<Vec<&str>> = config
        .start_order()
        .into_iter()
        .map(|level| level.into_iter().map(|service| service.name.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["db", "cache"], vec!["api"], vec!["web"]]);
    let needed: Vec<&str> =
        config.with_dependencies(&["api".into()]).iter().map(|service| service.name.as_str()).collect();
    assert_eq!(needed, ["api", "db"]);
}

#[test]
fn ports_of_two_services_do_not_clash() {
    let service = |name: &str, port: &str, profile: &[&str]| {
        let builder = Service::builder_default().name(name).base("a").port(port);
        builder.profiles(profile.iter().copied()).build()
    };
    let clash = |a: Service, b: Service| problems([a, b], []).len();
    assert_eq!(clash(service("a", "80", &[]), service("b", "80", &[])), 1);
    assert_eq!(clash(service("a", "80", &[]), service("b", "0.0.0.0:80:81", &[])), 1);
    assert_eq!(clash(service("a", "80", &[]), service("b", "80/udp", &[])), 0);
    assert_eq!(clash(service("a", "0:80", &[]), service("b", "0:80", &[])), 0);
    assert_eq!(clash(service("a", "80", &["x"]), service("b", "80", &["y"])), 0);
    assert_eq!(clash(service("a", "80", &["x"]), service("b", "80", &["x", "y"])), 1);
    assert_eq!(problems([app().port("80").replicas(2).build()], []).len(), 1);
    assert_eq!(problems([app().port("0:80").replicas(2).build()], []).len(), 0);
}

#[test]
fn a_local_group_publishes_on_loopback_only() {
    let group = |local| Group::builder().name("g").local_only(local).build();
    let service = |port: &str| app().group("g").port(port).build();
    assert_eq!(problems([service("0.0.0.0:80:80")], [group(true)]).len(), 1);
    assert_eq!(problems([service("127.0.0.2:80:80")], [group(true)]).len(), 0);
    let config = Monocore::builder().services([service("8080:80")]).groups([group(false)]).build().unwrap();
    let project = Project::new("demo", "/", config).unwrap();
    let spec = project.config.services[0].sandbox_spec(&project).unwrap();
    assert_eq!(spec.network.publish[0].address.to_string(), "0.0.0.0");
}

#[test]
fn what_a_group_shares_reaches_its_members() {
    let group =
        Group::builder().name("g").volume("shared", "/data").env("prod", ["KEY=group", "OTHER=1"]).build();
    let service = app()
        .group("g")
        .group_envs(["prod"])
        .envs(["KEY=own", "HOME"])
        .group_volume("shared", "/data/sub:/mnt:ro")
        .group_volume("shared", "/whole")
        .volumes(["./src:/src", "db:/var/lib", "/both"])
        .build();
    let config = Monocore::builder().services([service]).groups([group]).build().unwrap();
    let mut project = Project::new("demo", "/srv", config).unwrap();
    project.environment.insert("HOME".into(), "/root".into());
    let spec = project.config.services[0].sandbox_spec(&project).unwrap();
    let var = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
    assert_eq!(spec.process.env, [var("KEY", "own"), var("OTHER", "1"), var("HOME", "/root")]);
    let bind = |path: &str| MountSource::Bind { path: PathBuf::from(path), create: true };
    let mounts: Vec<_> =
        spec.mounts.into_iter().map(|mount| (mount.target, mount.source, mount.read_only)).collect();
    assert_eq!(
        mounts,
        [
            ("/src".into(), bind("/srv/src"), false),
            ("/var/lib".into(), MountSource::Volume("demo_db".into()), false),
            ("/both".into(), bind("/both"), false),
            ("/mnt".into(), bind("/data/sub"), true),
            ("/whole".into(), bind("/data"), false),
        ]
    );
}

#[test]
fn a_group_volume_is_not_left() {
    let group = || Group::builder().name("g").volume("v", "/data").build();
    for bad in ["/etc:/mnt", "../etc:/mnt", "/data/../etc:/mnt", "/data:mnt", ""] {
        let service = app().group("g").group_volume("v", bad).build();
        assert_eq!(problems([service], [group()]).len(), 1, "{bad}");
    }
    for service in [app().group("g").group_volume("w", "/mnt"), app().group_volume("v", "/mnt")] {
        assert_eq!(problems([service.build()], [group()]).len(), 1);
    }
}

#[test]
fn the_start_script_is_the_command_of_last_resort() {
    let config = |service: ServiceBuilder| {
        Project::new("demo", "/", Monocore::builder().services([service.build()]).build().unwrap()).unwrap()
    };
    let entrypoint = |project: &Project| {
        let process = project.config.services[0].sandbox_spec(project).unwrap().process;
        process
            .entrypoint
            .map(|words| words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>())
    };
    let script = config(app().script("start", "echo hi"));
    assert_eq!(entrypoint(&script).unwrap(), ["/bin/sh", "-c", "echo hi"]);
    let command = config(app().script("start", "echo hi").command("/bin/true"));
    assert_eq!(entrypoint(&command).unwrap(), ["/bin/true"]);
    assert_eq!(entrypoint(&config(app())), None);
}
