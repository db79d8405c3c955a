//! The machine and its root: processors, memory, disks.

use std::path::Path;

use monocore_test_images::image::Layer;
use monocore_tests::image::busybox;
use monocore_tests::world::{PLAIN, World};
use serde_json::json;

/// The number a script prints.
fn number(flags: &[&str], script: &str) -> u64 {
    let ran = World::get().script(flags, script);
    ran.out().trim().parse().unwrap_or_else(|_| panic!("{ran:?}"))
}

#[test]
fn processors_and_memory() {
    assert_eq!(number(&["--cpus", "2"], "nproc"), 2);
    assert_eq!(number(&[], "nproc"), 1);
    let kib = number(&["-m", "256m"], "grep MemTotal /proc/meminfo | tr -dc 0-9");
    assert!((200 << 10..256 << 10).contains(&kib), "{kib} KiB");
}

#[test]
fn memory_file_systems() {
    let script = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(number(&["--shm-size", "5m"], script), 5 << 10);
    assert_eq!(number(&[], script), 64 << 10);
    let ran = World::get().script(
        &["--tmpfs", "/scratch:size=3m,mode=700", "--tmpfs", "/plain"],
        "df -k /scratch | tail -1 | awk '{print $1, $2}'; stat -c %a /scratch /plain",
    );
    assert_eq!(ran.out(), "tmpfs 3072\n700\n1777\n");
}

#[test]
fn a_read_only_root_refuses_writes() {
    let ran = World::get().script(
        &["--read-only", "--tmpfs", "/tmp"],
        "touch /x 2>/dev/null || echo refused; touch /tmp/x && echo memory; cat /etc/hostname >/dev/null && echo hostname",
    );
    assert_eq!(ran.out(), "refused\nmemory\nhostname\n");
}

#[test]
fn the_root_disk_has_the_size_asked_for() {
    let script = "df -k / | tail -1 | awk '{print int($2 / 1024)}'";
    for (flags, range) in [
        (&[][..], 7000..8192),
        (&["--root-disk", "64m"], 40..64),
        (&["--root-disk", "300m"], 200..300),
        (&["--root-disk", "20G"], 18_000..20_480),
    ] {
        let mib = number(flags, script);
        assert!(range.contains(&mib), "{flags:?}: {mib} MiB");
    }
}

#[test]
fn what_is_written_is_gone_with_the_sandbox() {
    let world = World::get();
    assert_eq!(
        world
            .script(&[], "echo x > /kept && dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null && cat /kept")
            .out(),
        "x\n"
    );
    assert_eq!(world.script(&[], "test -e /kept || echo gone").out(), "gone\n");
}

#[test]
fn a_directory_is_a_root() {
    let world = World::get();
    let root = world.path("rootfs");
    for dir in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "touch"] {
        let _ = std::fs::remove_file(root.join("bin").join(applet));
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(root.join("etc/marker"), "from the host\n").unwrap();
    let path = root.display().to_string();
    let ran = world.run(["--rootfs", &path, "/bin/sh", "-c", "cat /etc/marker; echo written > /etc/out"]);
    assert_eq!(ran.out(), "from the host\n");
    assert_eq!(std::fs::read_to_string(root.join("etc/out")).unwrap(), "written\n");
    let ran = world.run([
        "--read-only",
        "--rootfs",
        &path,
        "--",
        "/bin/sh",
        "-c",
        "touch /etc/no 2>/dev/null || echo refused",
    ]);
    assert_eq!(ran.out(), "refused\n");
    assert!(!root.join("etc/no").exists());
}

#[test]
fn the_library_runs_a_directory_in_this_process() {
    use monocore::vm::{MicroVm, Output};
    let world = World::get();
    let root = world.path("library-root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let vm = MicroVm::builder()
        .home(world.path("library-home"))
        .root_path(&root)
        .ram_mib(128)
        .exec_path("/bin/busybox")
        .args(["sh", "-c", "echo $GREETING from $(busybox pwd); exit 5"])
        .env("GREETING", "hello")
        .env("PATH", "/bin")
        .workdir("/bin")
        .stdout(Output::Fd(writer.into()))
        .build()
        .unwrap();
    assert_eq!(vm.start().unwrap().code(), 5);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
    assert_eq!(said, "hello from /bin\n");
}

#[test]
fn a_guest_that_powers_itself_off_is_done() {
    assert_eq!(World::get().run([PLAIN, "poweroff", "-f"]).code, 0);
}

#[test]
fn an_images_dangling_links_get_their_files() {
    let world = World::get();
    let mut links = Layer::default();
    links
        .symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
        .symlink("etc/hosts", "/run/no-hosts");
    world.load("test/links:latest", &json!({ "Env": ["PATH=/bin"] }), &[busybox().unwrap(), links]);
    let script = "grep -c ^nameserver /etc/resolv.conf; grep -c '10.1.2.3.*db' /etc/hosts; hostname";
    for more in [&[][..], &["--read-only"], &["--tmpfs", "/run"]] {
        let flags = ["--dns", "127.0.0.61", "--hostname", "box7", "--add-host", "db:10.1.2.3"];
        let ran = world.run([&flags, more, &["test/links", "sh", "-c", script]].concat());
        assert_eq!(ran.out(), "1\n1\nbox7\n", "{more:?}");
    }
    assert!(!Path::new("/run/no-hosts").exists(), "this machine's own /run is not touched");
}

#[test]
fn an_image_with_one_layer_twice_is_loaded_as_docker_saves_it() {
    let world = World::get();
    let layer = |content: &str| {
        let mut layer = Layer::default();
        layer.dir("d").file("d/x", content.as_bytes()).file(&format!("d/{content}"), b"");
        layer
    };
    let layers = [
        busybox().unwrap(),
        layer("first"),
        Layer::default(),
        layer("second"),
        Layer::default(),
        layer("first"),
    ];
    world.load("test/twice:latest", &json!({ "Env": ["PATH=/bin"] }), &layers);
    assert_eq!(
        world.run(["test/twice:latest", "sh", "-c", "cat /d/x; ls /d"]).out(),
        "firstfirst\nsecond\nx\n"
    );
}
