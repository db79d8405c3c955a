use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

/// The description of `alpine` with nothing said.
pub(crate) fn minimal() -> SandboxSpec {
    SandboxSpec {
        version: SpecVersion,
        name: None,
        root: RootSpec {
            source: RootSource::Image(ImageSpec {
                reference: "alpine".to_owned(),
                pull: PullPolicy::default(),
                platform: None,
            }),
            read_only: false,
            disk_bytes: None,
        },
        process: ProcessSpec::default(),
        machine: MachineSpec::default(),
        mounts: Vec::new(),
        publish_sockets: Vec::new(),
        network: NetworkSpec::default(),
        hostname: None,
        hosts: Vec::new(),
        labels: BTreeMap::new(),
        stop: StopSpec::default(),
        restart: RestartPolicy::default(),
        health: None,
        limits: LimitsSpec::default(),
    }
}

fn text() -> impl Strategy<Value = OsString> {
    prop_oneof![any::<String>().prop_map(OsString::from), any::<Vec<u8>>().prop_map(OsString::from_vec),]
}

fn mount() -> impl Strategy<Value = MountSpec> {
    let source = prop_oneof![
        any::<(String, bool)>().prop_map(|(path, create)| MountSource::Bind { path: path.into(), create }),
        any::<String>().prop_map(MountSource::Volume),
        any::<String>().prop_map(|path| MountSource::Socket(path.into())),
        Just(MountSource::Anonymous),
        any::<(Option<u64>, bool)>().prop_map(|(size_bytes, exec)| MountSource::Tmpfs(
            monocore_protocol::Tmpfs { size_bytes, exec, ..Default::default() }
        )),
    ];
    (any::<String>(), source, any::<bool>()).prop_map(|(target, source, read_only)| MountSpec {
        target,
        source,
        read_only,
    })
}

prop_compose! {
    fn process()(
        entrypoint in proptest::option::of(proptest::collection::vec(text(), 0..3)),
        args in proptest::collection::vec(text(), 0..4),
        env in proptest::collection::vec((text(), text()), 0..4),
        workdir in any::<Option<String>>(),
        user in any::<Option<String>>(),
        (tty, stdin) in any::<(bool, bool)>(),
        nofile in any::<Option<(u64, u64)>>(),
        (groups, capabilities, no_new_privileges) in any::<(Vec<String>, Option<u64>, bool)>(),
        (secret, is_file, init) in any::<(Option<(String, String)>, bool, Option<bool>)>(),
    ) -> ProcessSpec {
        let ulimits = nofile.map(|(soft, hard)| {
            Rlimit { resource: monocore_protocol::Resource::Nofile, soft, hard }
        });
        ProcessSpec {
            entrypoint,
            args,
            env: env.into_iter().map(|(name, value)| EnvVar { name, value }).collect(),
            workdir,
            user,
            tty,
            stdin,
            ulimits: ulimits.into_iter().collect(),
            groups,
            capabilities,
            no_new_privileges,
            secrets: secret
                .map(|(name, source)| SecretSpec {
                    name,
                    source: if is_file { SecretSource::File(source.into()) } else { SecretSource::Env(source) },
                })
                .into_iter()
                .collect(),
            init,
        }
    }
}

prop_compose! {
    fn network()(
        mode in prop_oneof![
            Just(NetworkMode::None), Just(NetworkMode::Nat), Just(NetworkMode::Tsi),
            any::<String>().prop_map(NetworkMode::Tap),
            any::<String>().prop_map(|path| NetworkMode::Passt(path.into())),
        ],
        publish_exposed in any::<bool>(),
        dns in any::<Vec<IpAddr>>(),
        dns_search in any::<Vec<String>>(),
        log in any::<Option<String>>(),
        group in any::<Option<(Option<String>, String, Vec<String>, Option<std::net::Ipv4Addr>)>>(),
    ) -> NetworkSpec {
        let rule = parse_net_rule("allow:10.0.0.0/8,port=1-9,proto=udp").unwrap();
        let mut spec = NetworkSpec {
            mode,
            publish: parse_publish("127.0.0.1:8080:80/udp").unwrap(),
            publish_exposed,
            dns,
            dns_search,
            log: log.map(Into::into),
            groups: group
                .map(|(project, group, aliases, address)| GroupMembership {
                    project,
                    group: group.clone(),
                    aliases,
                    links: BTreeMap::from([(group, String::new())]),
                    address,
                })
                .into_iter()
                .collect(),
            ..NetworkSpec::default()
        };
        spec.policy.rules.push(rule);
        spec
    }
}

fn restart() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::No),
        any::<Option<u32>>().prop_map(|max_retries| RestartPolicy::OnFailure { max_retries }),
        Just(RestartPolicy::Always),
        Just(RestartPolicy::UnlessStopped),
    ]
}

prop_compose! {
    fn health()(
        test in proptest::option::of(prop_oneof![
            Just(HealthTest::None),
            any::<Vec<String>>().prop_map(HealthTest::Command),
            any::<String>().prop_map(HealthTest::Shell),
            any::<(u16, String)>().prop_map(|(port, path)| HealthTest::Http { port, path }),
            any::<u16>().prop_map(|port| HealthTest::Tcp { port }),
        ]),
        (interval, timeout, start_period, start_interval) in any::<[Option<u32>; 4]>().prop_map(Into::into),
        retries in any::<Option<u32>>(),
    ) -> HealthSpec {
        let milliseconds = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
        HealthSpec {
            test,
            interval: milliseconds(interval),
            timeout: milliseconds(timeout),
            retries,
            start_period: milliseconds(start_period),
            start_interval: milliseconds(start_interval),
        }
    }
}

prop_compose! {
    fn any_spec()(
        name in any::<Option<String>>(),
        reference in any::<String>(),
        (never, platform) in any::<(bool, Option<String>)>(),
        directory in any::<Option<String>>(),
        (read_only, disk_bytes) in any::<(bool, Option<u64>)>(),
        process in process(),
        (vcpus, ram_mib, shm_bytes, kernel) in any::<(u8, u32, u64, Option<String>)>(),
        mounts in proptest::collection::vec(mount(), 0..3),
        (network, socket) in (network(), any::<Option<(String, String)>>()),
        (hostname, labels) in any::<(Option<String>, BTreeMap<String, String>)>(),
        hosts in any::<Vec<(String, IpAddr)>>(),
        (signal, grace_ms, timeout_ms) in any::<(Option<u8>, u32, Option<u32>)>(),
        (restart, health) in (restart(), proptest::option::of(health())),
        (idle_ms, duration_ms) in any::<(Option<u32>, Option<u32>)>(),
    ) -> SandboxSpec {
        let pull = if never { PullPolicy::Never } else { PullPolicy::Missing };
        let source = match directory {
            Some(path) => RootSource::Directory(path.into()),
            None => RootSource::Image(ImageSpec { reference, pull, platform }),
        };
        let number = |signal: u8| Signal::parse(&(signal % 64 + 1).to_string()).unwrap();
        let milliseconds = |ms: u32| Duration::from_millis(ms.into());
        SandboxSpec {
            version: SpecVersion,
            name,
            root: RootSpec { source, read_only, disk_bytes },
            process,
            machine: MachineSpec { vcpus, ram_mib, shm_bytes, kernel: kernel.map(Into::into), ..MachineSpec::default() },
            mounts,
            publish_sockets: socket
                .map(|(guest, host)| PublishSocket { guest, host: host.into() })
                .into_iter()
                .collect(),
            network,
            hostname,
            hosts: hosts.into_iter().map(|(name, address)| HostEntry { name, address }).collect(),
            labels,
            stop: StopSpec {
                signal: signal.map(number),
                grace: milliseconds(grace_ms),
                timeout: timeout_ms.map(milliseconds),
            },
            restart,
            health,
            limits: LimitsSpec {
                idle_timeout: idle_ms.map(milliseconds),
                max_duration: duration_ms.map(milliseconds),
            },
        }
    }
}

proptest! {
    #[test]
    fn every_description_survives_json(spec in any_spec()) {
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<SandboxSpec>(&text).unwrap(), spec);
    }
}

#[test]
fn unknown_fields_and_versions_are_refused() {
    let text = serde_json::to_string(&minimal()).unwrap();
    let with = |from: &str, to: &str| serde_json::from_str::<SandboxSpec>(&text.replacen(from, to, 1));
    assert!(with("\"version\":1", "\"version\":1").is_ok());
    assert!(with("\"version\":1", "\"version\":2").unwrap_err().to_string().contains("version 2"));
    assert!(with("\"mounts\":", "\"mounst\":").is_err());
}

#[test]
fn a_description_of_before_there_were_policies_is_read() {
    let mut value = serde_json::to_value(minimal()).unwrap();
    let fields = value.as_object_mut().unwrap();
    for field in ["restart", "health", "limits"] {
        assert!(fields.remove(field).is_some());
    }
    assert_eq!(serde_json::from_value::<SandboxSpec>(value).unwrap(), minimal());
    for (field, bad) in [
        ("health", r#"{"intervall_ms":1}"#),
        ("limits", r#"{"idle":1}"#),
        ("restart", r#"{"on_failure":{"max_retries":1,"x":2}}"#),
    ] {
        let mut value = serde_json::to_value(minimal()).unwrap();
        value[field] = serde_json::from_str(bad).unwrap();
        assert!(serde_json::from_value::<SandboxSpec>(value).is_err(), "{field}");
    }
}
