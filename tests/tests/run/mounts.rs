//! What of the host a guest sees.

use std::os::unix::fs::FileTypeExt;

use monocore_tests::world::World;

#[test]
fn directories_and_files_in_both_ways() {
    let world = World::get();
    let dir = world.path("shared");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::write(dir.join("sub/in"), "from the host\n").unwrap();
    std::fs::write(world.path("one-file"), "one file\n").unwrap();
    let (dir_flag, file_flag, ro_flag) = (
        format!("{}:/mnt/dir", dir.display()),
        format!("{}:/etc/one-file", world.path("one-file").display()),
        format!("{}:/mnt/ro:ro", dir.display()),
    );
    let script = "cat /mnt/dir/sub/in /etc/one-file; echo out > /mnt/dir/out; echo more >> /etc/one-file; \
                  cat /mnt/ro/sub/in; touch /mnt/ro/x 2>/dev/null || echo refused";
    let ran = world.script(&["-v", &dir_flag, "-v", &file_flag, "-v", &ro_flag], script);
    assert_eq!(ran.out(), "from the host\none file\nfrom the host\nrefused\n");
    assert_eq!(std::fs::read_to_string(dir.join("out")).unwrap(), "out\n");
    assert_eq!(std::fs::read_to_string(world.path("one-file")).unwrap(), "one file\nmore\n");
    assert!(!dir.join("x").exists());
}

#[test]
fn a_write_on_a_share_is_one_request() {
    let world = World::get();
    let dir = world.path("written");
    std::fs::create_dir_all(&dir).unwrap();
    // Every answer is an interrupt. A guest that asked for capabilities before each write would take twice as many.
    let script = "count() { awk '/virtio/ { sum += $2 } END { print sum }' /proc/interrupts; }; \
                  : > /mnt/file; count > /dev/null; before=$(count); \
                  dd if=/dev/zero of=/mnt/file bs=1 count=300 conv=notrunc 2> /dev/null; \
                  echo $(($(count) - before))";
    let ran = world.script(&["-v", &format!("{}:/mnt", dir.display())], script);
    let requests: u32 = ran.out().trim().parse().unwrap();
    assert!((300..450).contains(&requests), "{requests} for 300 writes");
    assert_eq!(dir.join("file").metadata().unwrap().len(), 300);
}

#[test]
fn a_named_volume_outlives_its_sandboxes() {
    let world = World::get();
    assert_eq!(world.script(&["-v", "named:/data"], "echo kept > /data/file; ls /data").out(), "file\n");
    assert_eq!(
        world.script(&["--mount", "type=volume,src=named,dst=/elsewhere"], "cat /elsewhere/file").out(),
        "kept\n"
    );
    assert!(world.home().join("volumes/named/_data/file").exists());
}

#[test]
fn a_new_volume_starts_with_what_the_image_has_there() {
    let world = World::get();
    assert_eq!(world.script(&["-v", "etc:/etc"], "grep -c app /etc/passwd").out(), "1\n");
    let kept = std::fs::read_to_string(world.home().join("volumes/etc/_data/passwd")).unwrap();
    assert!(kept.contains("app"), "{kept}");
}

#[test]
fn an_anonymous_volume_is_a_place_of_its_own() {
    let ran = World::get()
        .script(&["--read-only", "-v", "/anonymous"], "echo x > /anonymous/f && cat /anonymous/f");
    assert_eq!(ran.out(), "x\n");
}

#[test]
fn a_mount_may_lie_in_another() {
    let world = World::get();
    for name in ["outer", "inner"] {
        std::fs::create_dir_all(world.path(name)).unwrap();
        std::fs::write(world.path(name).join(name), "").unwrap();
    }
    let inner = format!("{}:/m/in", world.path("inner").display());
    let outer = format!("{}:/m", world.path("outer").display());
    assert_eq!(
        world.script(&["-v", &inner, "-v", &outer], "ls /m /m/in").out(),
        "/m:\nin\nouter\n\n/m/in:\ninner\n"
    );
}

#[test]
fn fifty_mounts_at_once() {
    let world = World::get();
    let mut flags = Vec::new();
    for index in 0..50 {
        let dir = world.path("fifty").join(index.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("number"), format!("{index}\n")).unwrap();
        flags.extend(["-v".to_owned(), format!("{}:/mnt/{index}", dir.display())]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let script = "for i in $(seq 0 49); do cat /mnt/$i/number; echo $i > /mnt/$i/back; done; stat -c %d /mnt/* | sort -u | wc -l";
    let ran = world.script(&flags, script);
    let expected: String = (0..50).map(|index| format!("{index}\n")).collect();
    assert_eq!(ran.out(), format!("{expected}50\n"));
    for index in 0..50 {
        let back = std::fs::read_to_string(world.path("fifty").join(index.to_string()).join("back")).unwrap();
        assert_eq!(back, format!("{index}\n"));
    }
}

#[test]
fn a_link_that_a_guest_planted_leads_no_later_sandbox_out() {
    let world = World::get();
    let dir = world.path("planted");
    for name in ["share/real", "secret"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    std::fs::write(dir.join("secret/key"), "secret\n").unwrap();
    std::fs::write(dir.join("share/real/file"), "shared\n").unwrap();
    let at = |path: &str, target: &str| format!("{}:{target}", dir.join(path).display());
    let plant = "ln -s ../secret /mnt/out; ln -s real /mnt/in";
    world.script(&["-v", &at("share", "/mnt")], plant).out();

    let refused = world.script(&["-v", &at("share/out", "/mnt")], "cat /mnt/key");
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.stderr.contains("`out` is a symbolic link"), "{refused:?}");
    assert_eq!(world.script(&["-v", &at("share/in", "/mnt:ro")], "cat /mnt/file").out(), "shared\n");
    // A link of the host's own is followed, as by Docker.
    std::os::unix::fs::symlink("secret", dir.join("own")).unwrap();
    assert_eq!(world.script(&["-v", &at("own", "/mnt:ro")], "cat /mnt/key").out(), "secret\n");
}

/// A guest's program with all kinds of sockets and a pipe on its share.
const SOCKETS: &str = r#"
import os, socket, sys
server = socket.socket(socket.AF_UNIX); server.bind("/s/sock"); server.listen(); os.chmod("/s/sock", 0o666)
if os.fork() == 0:
    client = socket.socket(socket.AF_UNIX); client.connect("/s/sock"); client.sendall(b"over")
    print(client.recv(9).decode(), flush=True); os._exit(0)
client, _ = server.accept(); print(client.recv(9).decode(), flush=True); client.sendall(b"back"); os.wait()
datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); datagrams.bind("/s/dgram")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"gram", "/s/dgram"); print(datagrams.recv(9).decode())
os.mkfifo("/s/fifo")
if os.fork() == 0:
    open("/s/fifo", "w").write("fifo"); os._exit(0)
print(open("/s/fifo").read()); os.wait()
os.unlink("/s/sock"); again = socket.socket(socket.AF_UNIX); again.bind("/s/sock"); print("again")
"#;

#[test]
fn sockets_and_pipes_on_a_share_work_within_the_guest() {
    let world = World::get();
    let share = world.path("sockets-on-a-share");
    std::fs::create_dir_all(&share).unwrap();
    std::fs::write(share.join("program.py"), SOCKETS).unwrap();
    let mount = format!("{}:/s", share.display());
    let script = "PYTHONHOME=/host exec /host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path \
                  /host/lib/x86_64-linux-gnu /host/bin/python3 /s/program.py";
    let ran = world.script(&["-v", &mount, "-v", "/usr:/host:ro"], script);
    assert_eq!(ran.out(), "over\nback\ngram\nfifo\nagain\n");
    let kind = |name: &str| std::fs::symlink_metadata(share.join(name)).unwrap().file_type();
    assert!(kind("sock").is_socket() && kind("dgram").is_socket() && kind("fifo").is_fifo());
}
