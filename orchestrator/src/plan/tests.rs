use std::collections::BTreeMap;
use std::path::PathBuf;

use monocore_oci::RootPart;
use monocore_protocol::MountSource;

use super::*;
use crate::RunRecord;
use crate::spec::{
    ImageSpec, LimitsSpec, MachineSpec, NetworkMode, NetworkSpec, ProcessSpec, PullPolicy, RestartPolicy,
    RootSource, RootSpec, SpecVersion, StopSpec, parse_volume,
};

/// A home with files for an image of two parts and a stand-in for a kernel.
struct World {
    dir: tempfile::TempDir,
    home: Home,
    run_dir: RunDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let run_dir = RunDir::claim(&home, Some("web"), RunRecord::default()).unwrap();
        for name in ["meta", "data", "kernel"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        Self { dir, home, run_dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn image(&self) -> RootImage {
        let part =
            |name, offset_bytes, len_bytes| RootPart { path: self.path(name), offset_bytes, len_bytes };
        RootImage { parts: vec![part("meta", 0, 4096), part("data", 2 << 20, 8192)], len_bytes: 4 << 20 }
    }

    fn spec(&self) -> SandboxSpec {
        let image = ImageSpec { reference: "alpine".into(), pull: PullPolicy::Never, platform: None };
        SandboxSpec {
            version: SpecVersion,
            name: Some("web".into()),
            root: RootSpec { source: RootSource::Image(image), read_only: false, disk_bytes: None },
            process: ProcessSpec { args: vec!["true".into()], ..ProcessSpec::default() },
            machine: MachineSpec { kernel: Some(self.path("kernel")), ..MachineSpec::default() },
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

    /// The plan, or nothing where this build holds no guest to boot.
    fn plan(&self, spec: &SandboxSpec, root: &RootFiles<'_>) -> Option<Plan> {
        let published = Published::bind(&spec.network, &[]).unwrap();
        match Plan::make(&self.home, &self.run_dir, spec, root, published) {
            Err(Error::Guest(monocore_guest::Error::NotEmbedded)) => None,
            plan => Some(plan.unwrap()),
        }
    }
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    let kind = |device: &DeviceSpec| match device {
        DeviceSpec::Vsock(_) => "vsock",
        DeviceSpec::Block(block) if block.serial == ROOT_SERIAL => "root",
        DeviceSpec::Block(_) => "scratch",
        DeviceSpec::Fs(_) => "fs",
        DeviceSpec::Console(_) => "console",
        DeviceSpec::Rng => "rng",
        DeviceSpec::Balloon => "balloon",
        DeviceSpec::Net(_) => "net",
    };
    plan.vm.devices.iter().map(kind).collect()
}

#[test]
fn the_disk_of_an_image_has_zeroes_between_its_parts() {
    let world = World::new();
    let mut files = Files::default();
    let DeviceSpec::Block(BlockSpec { backend: BlockBackend::Concat { parts }, .. }) =
        root_disk(&world.image(), &mut files).unwrap()
    else {
        panic!("a concatenation")
    };
    let lengths: Vec<_> = parts.iter().map(|part| (part.file.is_some(), part.len_bytes)).collect();
    let gap = (2 << 20) - 4096;
    assert_eq!(lengths, [(true, 4096), (false, gap), (true, 8192), (false, (2 << 20) - 8192)]);
    assert_eq!(files.0.len(), 2);
}

#[test]
fn an_image_gets_a_disk_to_write_to_unless_it_is_read_only() {
    let world = World::new();
    let mut spec = world.spec();
    let config = ImageConfig::default();
    let root = RootFiles::Image(&config, world.image());
    let Some(plan) = world.plan(&spec, &root) else { return };
    assert_eq!(kinds(&plan), ["vsock", "root", "scratch"]);
    assert_eq!(plan.configure.root, Root::Image { upper: Upper::Disk(ScratchDisk { grow: false }) });
    assert_eq!(plan.configure.hostname, world.run_dir.record().id);
    spec.root.read_only = true;
    let plan = world.plan(&spec, &root).unwrap();
    assert_eq!(kinds(&plan), ["vsock", "root"]);
    assert_eq!(plan.configure.root, Root::Image { upper: Upper::ReadOnly });
}

#[test]
fn every_share_is_on_one_device() {
    let world = World::new();
    let mut spec = world.spec();
    for index in 0..50 {
        let source = world.path("shares").join(index.to_string());
        spec.mounts.push(parse_volume(&format!("{}:/mnt/{index}", source.display())).unwrap());
    }
    let config = ImageConfig { volumes: vec!["/data".into()], ..ImageConfig::default() };
    let Some(plan) = world.plan(&spec, &RootFiles::Image(&config, world.image())) else { return };
    assert_eq!(kinds(&plan), ["vsock", "root", "scratch", "fs"]);
    assert_eq!(plan.configure.mounts.len(), 51);
    assert!(plan.configure.mounts.iter().any(|mount| mount.source == MountSource::Volume));
    let named: Vec<_> = plan.files.iter().map(AsRawFd::as_raw_fd).collect();
    let DeviceSpec::Fs(fs) = &plan.vm.devices[3] else { panic!("an fs device") };
    assert!(fs.shares.iter().all(|share| matches!(share.source, FileRef::Fd(fd) if named.contains(&fd))));
}

#[test]
fn a_directory_as_root_is_a_share_written_in_place() {
    let world = World::new();
    let mut spec = world.spec();
    let path = world.path("root");
    std::fs::create_dir(&path).unwrap();
    spec.root.source = RootSource::Directory(path.clone());
    let Some(plan) = world.plan(&spec, &RootFiles::Directory(&path)) else { return };
    assert_eq!(kinds(&plan), ["vsock", "fs"]);
    assert_eq!(plan.configure.root, Root::Share { name: ROOT_SHARE.into(), upper: None });
}

#[test]
fn a_network_of_sockets_has_no_card_and_an_interface_of_its_own() {
    let world = World::new();
    let mut spec = world.spec();
    spec.network.mode = NetworkMode::Tsi;
    let config = ImageConfig::default();
    let Some(plan) = world.plan(&spec, &RootFiles::Image(&config, world.image())) else { return };
    assert!(plan.vm.carries_sockets());
    assert!(!kinds(&plan).contains(&"net"));
    let interface = plan.configure.interface.unwrap();
    assert_eq!((interface.name.as_str(), interface.gateways.len()), ("tsi0", 2));
    assert_eq!(plan.configure.resolver.unwrap().servers, interface.gateways[..1]);
}

#[test]
fn a_network_is_the_machines_and_the_guests() {
    let world = World::new();
    let mut spec = world.spec();
    spec.network.mode = NetworkMode::Nat;
    spec.network.publish = crate::spec::parse_publish(":80").unwrap();
    spec.network.policy.rules.push(crate::spec::parse_net_rule("allow:host").unwrap());
    let config = ImageConfig::default();
    let Some(plan) = world.plan(&spec, &RootFiles::Image(&config, world.image())) else { return };
    let nat = plan.vm.proxy().unwrap();
    assert!(!plan.vm.carries_sockets());
    assert_eq!(kinds(&plan).last(), Some(&"net"));
    let named: Vec<_> = plan.files.iter().map(AsRawFd::as_raw_fd).collect();
    assert!(matches!(nat.receipts, Sink::Fd(fd) if named.contains(&fd)));
    assert!(nat.publish.is_empty(), "the machine binds nothing");
    assert!(nat.bound[0].guest_port == 80 && named.contains(&nat.bound[0].fd), "{:?}", nat.bound);
    let interface = plan.configure.interface.unwrap();
    assert_eq!(interface.name, "eth0");
    assert_eq!(interface.gateways[0], std::net::IpAddr::from(nat.link.gateway_v4));
    assert_eq!(plan.configure.resolver.unwrap().servers, interface.gateways[..1]);
    assert!(plan.configure.hosts.iter().any(|entry| entry.names.contains(&"host.monocore.internal".into())));
}
