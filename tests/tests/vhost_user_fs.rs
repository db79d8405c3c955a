//! virtio-fs in a real guest: QEMU in software emulation, a distribution's kernel, our device at a vhost-user socket, once
//! of this process and once of `monocore vhost-user`, in its jail.
//! Needs root and no KVM.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use monocore_fs::{CachePolicy, FILE_ENTRY, Fs, FsConfig, FsHandle, FsShare, ServerConfig};
use monocore_tests::stock_guest::fs::{LARGE_BYTES, MANY};
use monocore_vhost_user::Server;
use sha2::{Digest, Sha256};
use support::served::Served;
use support::stock_guest::StockGuest;
use tempfile::TempDir;

fn share(path: &Path, name: &str, read_only: bool) -> FsShare {
    let root = File::open(path).expect("a share").into();
    FsShare { name: name.into(), root, read_only, cache: CachePolicy::Auto }
}

/// Directories and files of the host for the guest to find, each with its own name in a file.
fn shares(host: &Path) -> Vec<FsShare> {
    let dir = |name: &str, content: &str| {
        fs::create_dir(host.join(name)).expect("a directory");
        fs::write(host.join(name).join("name"), content).expect("a file");
        host.join(name)
    };
    fs::write(host.join("single"), "one").expect("a file");
    let mut shares =
        vec![share(&dir("work", "work"), "work", false), share(&dir("fixed", "fixed"), "fixed", true)];
    shares.push(share(&host.join("single"), "one", false));
    for number in 0..MANY {
        let name = format!("many-{number}");
        shares.push(share(&dir(&name, &number.to_string()), &name, false));
    }
    dir("late", "late");
    let large: Vec<u8> = (0..LARGE_BYTES).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(host.join("work/large"), &large).expect("a file");
    fs::write(host.join("work/large.sha256"), hex(&large)).expect("a file");
    shares
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does what the guest asks for while it runs.
fn answer(host: &Path, handle: &FsHandle, line: &str) {
    match line {
        "add late" => handle.add(share(&host.join("late"), "late", false)).expect("a new name"),
        "remove late" => handle.remove("late").expect("it is there"),
        _ => {}
    }
}

#[test]
fn a_stock_kernel_mounts_the_device_and_finds_a_file_system() {
    assert_eq!(FILE_ENTRY, "file", "the guest's part looks for it");
    let sockets = TempDir::new().unwrap();
    let host = TempDir::new().unwrap();
    let server = ServerConfig { max_descriptors: 256, ..ServerConfig::for_this_process() };
    let config = FsConfig { tag: "monocore".into(), request_queues: 1, shares: shares(host.path()), server };
    let device = Fs::new(config).unwrap();
    let (handle, metrics) = (device.handle(), device.metrics());
    let socket = sockets.path().join("fs");
    let server = Server::bind(&socket, Box::new(device), Arc::new(|| Ok(()))).unwrap();
    // Ends with the front end.
    let serving = thread::spawn(move || server.serve_one());

    let lines = guest("fs", &socket).run(|line| answer(host.path(), &handle, line));
    serving.join().unwrap().unwrap();

    assert!(assertions(&lines) >= 300);
    let reversed = fs::read(host.path().join("work/reversed")).unwrap();
    assert_eq!(reversed.len(), LARGE_BYTES);
    assert_eq!(hex(&reversed), fs::read_to_string(host.path().join("work/reversed.sha256")).unwrap());
    assert_eq!(fs::read_to_string(host.path().join("single")).unwrap(), "two!");
    assert_eq!(fs::read_to_string(host.path().join("late/name")).unwrap(), "seen");
    assert_eq!(fs::read_dir(host.path().join("fixed")).unwrap().count(), 1);
    // The shares, the directory that came and went, and the single file: nothing lies beside them.
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), MANY + 4);
    assert_eq!(metrics.guest_faults.load(std::sync::atomic::Ordering::Relaxed), 0);
    eprintln!("{} assertions; {metrics:?}", assertions(&lines));
}

/// A guest with the device at `socket`.
fn guest(job: &'static str, socket: &Path) -> StockGuest {
    let mut guest = StockGuest::new(job);
    guest.shared_memory().character_device("fs", socket);
    guest.argument("-device", "vhost-user-fs-pci,chardev=fs,tag=monocore,queue-size=1024");
    guest
}

/// How many assertions the suite made in the guest.
fn assertions(lines: &[String]) -> usize {
    let suite = lines.iter().find_map(|line| line.strip_prefix("suite ")).expect("the suite ran");
    suite.split(' ').next().and_then(|made| made.parse().ok()).expect("a number")
}

/// Nobody of this host: without any right but to its own files.
const NOBODY: u32 = 54_321;

#[test]
fn a_host_without_root_serves_a_guest_that_has_it() {
    let sockets = TempDir::new().unwrap();
    let host = TempDir::new().unwrap();
    std::os::unix::fs::chown(host.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    std::os::unix::fs::chown(sockets.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let (work, socket) = (host.path().join("work"), sockets.path().join("fs"));
    fs::create_dir(&work).unwrap();
    std::os::unix::fs::chown(&work, Some(NOBODY), Some(NOBODY)).unwrap();
    let share = format!("work={}", work.display());
    let mut served = Served::start(&socket, Some(NOBODY), &["fs", "--share", &share]);
    let lines = guest("fs-rootless", &socket).run(|_| {});
    served.assert_running();
    assert!(assertions(&lines) >= 300);
    assert_eq!(fs::read_dir(host.path().join("work")).unwrap().count(), 0);
}
