use clap::Parser;
use monocore_spec::NetRate;

use super::*;

#[derive(Parser)]
struct TestCli {
    #[command(flatten)]
    run: RunArgs,
}

fn spec(words: &[&str]) -> anyhow::Result<SandboxSpec> {
    let cli = TestCli::try_parse_from([&["run"], words].concat())?;
    cli.run.into_spec(|name| (name == "HOME").then(|| "/root".into()))
}

fn image(spec: &SandboxSpec) -> &str {
    match &spec.root.source {
        RootSource::Image(image) => &image.reference,
        RootSource::Directory(_) => "a directory",
    }
}

#[test]
fn what_follows_the_image_is_untouched() {
    for (words, args) in [
        (&["alpine", "ls", "-l"][..], &["ls", "-l"][..]),
        (&["alpine", "--", "ls", "-l"], &["ls", "-l"]),
        (&["--", "alpine", "ls"], &["ls"]),
        (&["-t", "alpine", "-e", "A=1", "--name", "x"], &["-e", "A=1", "--name", "x"]),
        (&["alpine", "sh", "--", "-c", "--", "x"], &["sh", "--", "-c", "--", "x"]),
        (&["alpine", "--", "--", "x"], &["--", "x"]),
        (&["alpine", "--help"], &["--help"]),
        (&["alpine"], &[]),
        (&["alpine", ""], &[""]),
    ] {
        let spec = spec(words).unwrap();
        assert_eq!(image(&spec), "alpine");
        assert_eq!(spec.process.args, args, "{words:?}");
    }
}

#[test]
fn a_directory_takes_the_images_place() {
    for words in [&["--rootfs", "/r", "ls", "-l"][..], &["--rootfs", "/r", "--", "ls", "-l"]] {
        let spec = spec(words).unwrap();
        assert_eq!(spec.root.source, RootSource::Directory("/r".into()));
        assert_eq!(spec.process.args, ["ls", "-l"]);
    }
}

#[test]
fn every_flag_arrives() {
    let line = "-it --rm --init --no-net -q --name web --hostname h.example --add-host db:10.0.0.1 -l a=b \
                -e A=1 -e HOME -e UNSET -w /w -u 1:2 --entrypoint /e --ulimit nofile=1:2 --stop-signal INT \
                --stop-timeout 3 --timeout 30s -v /a:/b:ro --mount type=tmpfs,dst=/c --tmpfs /d \
                --read-only --root-disk 1G --shm-size 1m --cpus 2 -m 1g --kernel /k --pull never --platform \
                linux/amd64 alpine x";
    let spec = spec(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(spec.name.as_deref(), Some("web"));
    assert_eq!(spec.hostname.as_deref(), Some("h.example"));
    assert_eq!(spec.hosts.len(), 1);
    assert_eq!(spec.labels["a"], "b");
    assert_eq!(spec.process.env.len(), 2);
    assert_eq!(spec.process.workdir.as_deref(), Some("/w"));
    assert_eq!(spec.process.user.as_deref(), Some("1:2"));
    assert_eq!(spec.process.entrypoint, Some(vec!["/e".into()]));
    assert_eq!(spec.process.ulimits.len(), 1);
    assert!(spec.process.tty && spec.process.stdin && spec.root.read_only);
    assert_eq!(spec.stop.signal.map(|s| s.number()), Some(2));
    assert_eq!((spec.stop.grace.as_secs(), spec.stop.timeout.map(|t| t.as_secs())), (3, Some(30)));
    let targets: Vec<_> = spec.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/b", "/c", "/d"]);
    assert_eq!(spec.root.disk_bytes, Some(1 << 30));
    assert_eq!((spec.machine.vcpus, spec.machine.ram_mib, spec.machine.shm_bytes), (2, 1024, 1 << 20));
    assert_eq!(spec.machine.kernel, Some("/k".into()));
    let RootSource::Image(image) = &spec.root.source else { panic!("an image") };
    assert_eq!((image.pull, image.platform.as_deref()), (PullPolicy::Never, Some("linux/amd64")));
}

#[test]
fn ports_are_published_one_by_one_or_all() {
    let network = spec(&["-P", "-p", ":80", "-p", "0:80", "alpine"]).unwrap().network;
    let ports: Vec<_> = network.publish.iter().map(|port| (port.host_port, port.guest_port)).collect();
    assert_eq!((network.publish_exposed, ports), (true, vec![(0, 80), (0, 80)]));
    assert!(!spec(&["alpine"]).unwrap().network.publish_exposed);
}

#[test]
fn a_network_has_limits_where_they_are_asked_for() {
    let limits = |words: &[&str]| spec(words).unwrap().network.limits;
    assert_eq!(limits(&["alpine"]), NetLimits::default());
    let flags =
        ["--net-limit-out", "8Mbit/s,1k", "--net-limit-in=1MiB/s", "--net-limit-connections", "9", "alpine"];
    let rate = |bytes_per_second, burst_bytes| Some(NetRate { bytes_per_second, burst_bytes });
    let rates = NetRates { from_guest: rate(1_000_000, 1024), to_guest: rate(1 << 20, (1 << 20) / 10) };
    assert_eq!(limits(&flags), NetLimits { connections: 9, rates });
    let rates = NetRates { to_guest: rate(10, 64 << 10), ..NetRates::default() };
    assert_eq!(limits(&["--network", "tap:t", "--net-limit-in", "10B", "alpine"]).rates, rates);
}

#[test]
fn rights_arrive() {
    let line = "--pids-limit 30 --cap-drop ALL --cap-add chown --security-opt no-new-privileges --group-add 77 \
                --sysctl a.b=c --domainname d.example --storage-opt size=1G --dns-option ndots:2 --expose 80 alpine";
    let unlimited = spec(&["--pids-limit", "-1", "alpine"]).unwrap();
    assert_eq!(unlimited.machine.pids_limit, None);
    let spec = spec(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
    assert_eq!((spec.machine.pids_limit, spec.process.capabilities), (Some(30), Some(1)));
    assert!(spec.process.no_new_privileges && spec.machine.sysctls["a.b"] == "c");
    assert_eq!(
        (spec.process.groups, spec.machine.domainname.as_deref()),
        (vec!["77".into()], Some("d.example"))
    );
    assert_eq!((spec.root.disk_bytes, spec.network.dns_options), (Some(1 << 30), vec!["ndots:2".into()]));
}

#[test]
fn memory_has_three_spellings() {
    for flag in ["-m", "--memory", "--ram"] {
        assert_eq!(spec(&[flag, "256", "alpine"]).unwrap().machine.ram_mib, 256);
    }
}

#[test]
fn an_empty_entrypoint_removes_the_images() {
    assert_eq!(spec(&["--entrypoint", "", "alpine"]).unwrap().process.entrypoint, Some(Vec::new()));
}

#[test]
fn errors_name_the_flag() {
    for (words, flag) in [
        (&["--env-file", "/nonexistent", "alpine"][..], "--env-file"),
        (&["-e", "=x", "alpine"], "--env"),
        (&["--ulimit", "nope=1", "alpine"], "--ulimit"),
        (&["--cpus", "none", "alpine"], "--cpus"),
        (&["-m", "1", "alpine"], "--memory"),
        (&["-v", "relative", "alpine"], "--volume"),
        (&["-v", "/a:/b", "--tmpfs", "/b/", "alpine"], "--tmpfs"),
        (&["-w", "relative", "alpine"], "--workdir"),
        (&["--hostname=-x-", "alpine"], "--hostname"),
        (&["--no-net", "-p", "80:80", "alpine"], "--publish"),
        (&["--network", "passt:/s", "-P", "alpine"], "--publish-all"),
        (&["--network", "tap:t", "--net-limit-connections", "1", "alpine"], "--net-limit-connections"),
        (&["--net-limit-connections", "0", "alpine"], "--net-limit-connections"),
        (&["--net-limit-in", "10M", "alpine"], "10MB/s"),
        (&["--stop-signal", "NOPE", "alpine"], "--stop-signal"),
        (&["--wrong", "alpine"], "--wrong"),
        (&[], "IMAGE"),
    ] {
        let error = format!("{:#}", spec(words).unwrap_err());
        assert!(error.contains(flag), "{words:?}: {error}");
    }
}
