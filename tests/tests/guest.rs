//! Kernel, init and agent in a real machine, driven by a session: what a guest becomes and how its commands behave.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use monocore_orchestrator::session::{
    Handoff, Input, Output, Process, Session, SessionError, Streams, Waited,
};
use monocore_protocol::{
    Configure, Exec, ExecId, ExitStatus, HostEntry, Mount, MountSource, Purpose, ROOT_SERIAL, Root,
    SCRATCH_SERIAL, SHARE_TAG, ScratchDisk, TermSize, Tmpfs, Upper,
};
use monocore_vmm::jail::Jail;
use monocore_vmm::spec::{
    BlockBackend, BlockPart, BlockSpec, DeviceSpec, FileRef, FsSpec, Share, Sink, VmExit, VsockBackend,
    VsockSpec,
};
use monocore_vmm::{Attachments, Builder, MachineHandle, Shares};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Emulation is slow.
const SOON: Duration = Duration::from_secs(120);

/// What a guest is made of.
struct Recipe {
    dir: tempfile::TempDir,
    configure: Configure,
    devices: Vec<DeviceSpec>,
    shares: Vec<Share>,
    /// Shares can be added later.
    grows: bool,
    /// The machine's threads are jailed, those of the test are not.
    jailed: bool,
    files: Vec<OwnedFd>,
}

/// A running guest.
struct Guest {
    session: Session,
    machine: MachineHandle,
    shares: Option<Shares>,
    thread: Option<JoinHandle<VmExit>>,
    recipe: Recipe,
}

impl Recipe {
    /// A busybox image below, `upper` above.
    fn image(upper: Upper) -> Self {
        let mut recipe = Self::new(Root::Image { upper });
        let tree = recipe.dir.path().join("tree");
        make_tree(&tree);
        let image = recipe.dir.path().join("image.erofs");
        run("mkfs.erofs", &["--quiet".as_ref(), image.as_ref(), tree.as_ref()]);
        let len_bytes = fs::metadata(&image).unwrap().len();
        let part = BlockPart { file: Some(FileRef::Path(image)), offset_bytes: 0, len_bytes };
        recipe.disk(ROOT_SERIAL, BlockBackend::Concat { parts: vec![part] });
        recipe
    }

    /// The same tree as a shared directory.
    fn directory() -> Self {
        let mut recipe = Self::new(Root::Share { name: "root".into(), upper: None });
        let tree = recipe.dir.path().join("tree");
        make_tree(&tree);
        recipe.share("root", &tree, false);
        recipe
    }

    fn new(root: Root) -> Self {
        let mut configure = Configure::new(root);
        configure.hostname = "box".to_owned();
        configure.entropy = vec![7; 64].into();
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            configure,
            devices: Vec::new(),
            shares: Vec::new(),
            grows: false,
            jailed: false,
            files: Vec::new(),
        }
    }

    fn disk(&mut self, serial: &str, backend: BlockBackend) {
        self.devices.push(DeviceSpec::Block(BlockSpec { serial: serial.into(), backend }));
    }

    /// An empty ext4 of `bytes` on a disk of `disk_bytes`.
    fn scratch(&mut self, bytes: u64, disk_bytes: u64) {
        let path = self.dir.path().join("scratch");
        let file = File::create(&path).unwrap();
        file.set_len(bytes).unwrap();
        run("mke2fs", &["-q".as_ref(), "-t".as_ref(), "ext4".as_ref(), path.as_ref()]);
        file.set_len(disk_bytes).unwrap();
        self.disk(SCRATCH_SERIAL, BlockBackend::Raw { file: FileRef::Path(path), read_only: false });
    }

    fn share(&mut self, name: &str, source: &Path, read_only: bool) {
        let source = FileRef::Path(source.to_owned());
        self.shares.push(Share { name: name.into(), source, read_only });
    }

    fn mount(&mut self, source: MountSource, target: &str, read_only: bool) {
        self.configure.mounts.push(Mount { source, target: target.into(), read_only });
    }

    fn boot(mut self) -> Guest {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let backend = VsockBackend::Handoff { fd: theirs.as_raw_fd() };
        let vsock = VsockSpec { guest_cid: 3, backend, carries: None };
        let kernel = monocore_guest::kernel().unwrap().unpack(&self.dir.path().join("kernel")).unwrap();
        let initramfs = self.dir.path().join("initramfs.cpio");
        fs::write(&initramfs, monocore_guest::initramfs().unwrap()).unwrap();
        let mut builder = Builder::new(kernel)
            .initrd(initramfs)
            .ram_mib(256)
            .serial(Sink::Fd(2))
            .device(DeviceSpec::Vsock(vsock));
        for device in std::mem::take(&mut self.devices) {
            builder = builder.device(device);
        }
        if !self.shares.is_empty() || self.grows {
            let (shares, grows) = (std::mem::take(&mut self.shares), self.grows);
            builder = builder.device(DeviceSpec::Fs(FsSpec { tag: SHARE_TAG.into(), shares, grows }));
        }
        self.files.push(theirs);
        let session = Session::start(Handoff::new(ours), self.configure.clone()).unwrap();
        let jailed = self.jailed;
        let (sender, started) = mpsc::channel();
        // A jail holds the thread that enters it, and those it starts.
        let thread = std::thread::spawn(move || {
            let jail = jailed.then(|| Jail::prepare(builder.spec()).unwrap());
            if let Some(jail) = &jail {
                let confinement = jail.confinement();
                builder = builder.attachments(Attachments { confinement, ..Attachments::default() });
            }
            let machine = builder.build().unwrap();
            if let Some(jail) = jail {
                jail.enter().unwrap();
            }
            let running = machine.start().unwrap();
            sender.send((running.handle(), running.shares())).unwrap();
            running.wait()
        });
        let (machine, shares) = started.recv().unwrap();
        Guest { session, machine, shares, thread: Some(thread), recipe: self }
    }
}

impl Guest {
    fn exec(&self, exec: Exec) -> (Result<ExitStatus, SessionError>, String, String) {
        let (stdout, out) = tap();
        let (stderr, err) = tap();
        let streams = Streams::Pipes { stdin: Input::Empty, stdout, stderr };
        let process = self.session.exec(exec, streams).unwrap();
        let status = wait(&process);
        let text =
            |bytes: mpsc::Receiver<Vec<u8>>| String::from_utf8(bytes.try_iter().flatten().collect()).unwrap();
        (status, text(out), text(err))
    }

    /// What a script prints; it must succeed.
    fn shell(&self, script: &str) -> String {
        let (status, out, err) = self.exec(shell(script));
        assert_eq!(status.unwrap(), ExitStatus::Code(0), "{script}: {out}{err}");
        out
    }

    fn path(&self, name: &str) -> PathBuf {
        self.recipe.dir.path().join(name)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.machine.kill();
        if let Some(thread) = self.thread.take() {
            let exit = thread.join();
            if std::thread::panicking() {
                eprintln!("the machine ended: {exit:?}");
            }
        }
    }
}

fn make_tree(tree: &Path) {
    for folder in ["bin", "etc", "tmp", "data", "root", "var/empty"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    fs::copy("/usr/bin/busybox", tree.join("bin/busybox")).unwrap();
    let list = Command::new("/usr/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .unwrap();
    fs::write(tree.join("etc/group"), "root:x:0:\napp:x:1000:\nwheel:x:10:app\n").unwrap();
    fs::write(tree.join("data/seed"), "from the image\n").unwrap();
    fs::set_permissions(tree.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(tree, fs::Permissions::from_mode(0o751)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::open(tree).unwrap().set_modified(old).unwrap();
}

fn run(program: &str, args: &[&std::ffi::OsStr]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn shell(script: &str) -> Exec {
    let mut exec = Exec::new(ExecId(0), ["sh", "-c", script]);
    exec.purpose = Purpose::Extra;
    exec
}

fn wait(process: &Process) -> Result<ExitStatus, SessionError> {
    match process.wait_until(Some(Instant::now() + SOON), None)? {
        Waited::Ended(status) => Ok(status),
        other => panic!("the command hangs: {other:?}"),
    }
}

struct Tap(mpsc::Sender<Vec<u8>>);

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Nobody may be interested any more.
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tap() -> (Output, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel();
    (Output::Writer(Box::new(Tap(sender))), receiver)
}

#[test]
fn an_image_with_a_disk_above_is_a_root_like_dockers() {
    let mut recipe = Recipe::image(Upper::Disk(ScratchDisk { grow: true }));
    recipe.scratch(64 << 20, 2 << 30);
    recipe.configure.shm_bytes = 8 << 20;
    recipe.configure.hosts = vec![HostEntry { address: [10, 0, 0, 2].into(), names: vec!["db".into()] }];
    recipe.configure.sysctls = vec![("net.ipv4.ip_forward".into(), "1".into())];
    recipe.mount(
        MountSource::Tmpfs(Tmpfs { size_bytes: Some(1 << 20), ..Tmpfs::default() }),
        "/new/tmp",
        false,
    );
    let began = Instant::now();
    let guest = recipe.boot();
    assert_eq!(guest.shell("echo hello"), "hello\n");
    eprintln!("booted in {:?}", began.elapsed());
    assert_eq!(guest.shell("hostname; cat /etc/hostname"), "box\nbox\n");
    assert!(guest.shell("cat /etc/hosts").contains("10.0.0.2\tdb"));
    // The image's root: its mode and time, although entries were added.
    assert_eq!(guest.shell("stat -c '%a %Y' /"), "751 1000000000\n");
    assert_eq!(guest.shell("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    assert_eq!(guest.shell("df -k /dev/shm | tail -1 | awk '{print $2}'"), "8192\n");
    let root_kib: u64 = guest.shell("df -k / | tail -1 | awk '{print $2}'").trim().parse().unwrap();
    assert!(root_kib > 1_500_000, "{root_kib} KiB: the disk did not grow");
    assert!(guest.shell("grep ' /new/tmp ' /proc/mounts").contains("noexec"));
    let mounts = guest.shell("cut -d' ' -f2,3 /proc/mounts");
    for wanted in [
        "/ overlay",
        "/proc proc",
        "/sys sysfs",
        "/dev devtmpfs",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/dev/mqueue mqueue",
        "/sys/fs/cgroup cgroup2",
    ] {
        assert!(mounts.lines().any(|line| line == wanted), "{wanted} is missing in\n{mounts}");
    }
    guest.shell("echo x > /data/seed && mv /data /moved && cat /moved/seed && rm -r /moved");
    guest.shell("echo to-stderr >/dev/stderr; ip link show lo | grep -q UP");
    let mut user = shell("id; echo $HOME; echo > /dev/stdout");
    user.user = "app".to_owned();
    let (_, out, _) = guest.exec(user);
    assert!(out.starts_with("uid=1000(app) gid=1000(app) groups=10(wheel),1000(app)\n/home/app\n"), "{out}");
}

#[test]
fn the_main_command_takes_the_guest_with_it() {
    let recipe = Recipe::image(Upper::Memory { size_bytes: None });
    let guest = recipe.boot();
    let mut main = shell("sleep 1000 & echo started; kill -9 $$");
    main.purpose = Purpose::Main;
    let began = Instant::now();
    let (status, out, _) = guest.exec(main);
    assert_eq!((status.unwrap().code(), out.as_str()), (137, "started\n"));
    assert!(began.elapsed() < SOON);
    // The agent is still there; the orphan went with its namespace, in which nothing starts any more.
    let refused = guest.exec(shell("true")).0.unwrap_err().to_string();
    assert!(refused.contains("the sandbox's command has ended"), "{refused}");
    guest.session.shutdown(SOON).unwrap();
}

#[test]
fn a_read_only_root_takes_no_writes_but_its_volumes_and_mounts_do() {
    let mut recipe = Recipe::image(Upper::ReadOnly);
    recipe.mount(MountSource::Volume, "/data", false);
    recipe.mount(MountSource::Tmpfs(Tmpfs::default()), "/scratch", false);
    let guest = recipe.boot();
    assert_eq!(
        guest.shell("touch /file 2>&1 || echo refused"),
        "touch: /file: Read-only file system\nrefused\n"
    );
    assert_eq!(guest.shell("cat /data/seed; echo new > /data/new; cat /data/new"), "from the image\nnew\n");
    assert_eq!(guest.shell("stat -c %a /data; stat -c %a /scratch"), "750\n1777\n");
    guest.shell("touch /scratch/file /dev/shm/file");
}

#[test]
fn shares_of_every_kind_are_where_they_belong() {
    let mut recipe = Recipe::image(Upper::Memory { size_bytes: None });
    let dir = recipe.dir.path().to_owned();
    for folder in ["rw", "ro", "volume", "below"] {
        fs::create_dir(dir.join(folder)).unwrap();
        recipe.share(folder, &dir.join(folder), folder == "ro");
    }
    fs::write(dir.join("single"), "one file\n").unwrap();
    fs::write(dir.join("ro/file"), "read me\n").unwrap();
    recipe.share("single", &dir.join("single"), false);
    let share = |name: &str, populate| MountSource::Share { name: name.into(), populate };
    recipe.mount(share("rw", false), "/rw", false);
    recipe.mount(share("ro", false), "/deep/er/ro", true);
    recipe.mount(share("volume", true), "/data", false);
    recipe.mount(share("below", false), "/rw/below", false);
    recipe.mount(MountSource::SharedFile { name: "single".into() }, "/etc/single.conf", false);
    let guest = recipe.boot();
    assert_eq!(
        guest.shell("cat /deep/er/ro/file; touch /deep/er/ro/x 2>/dev/null || echo refused"),
        "read me\nrefused\n"
    );
    guest.shell("echo from the guest > /rw/file; mkdir /rw/below/dir; echo more >> /etc/single.conf");
    assert_eq!(fs::read_to_string(dir.join("rw/file")).unwrap(), "from the guest\n");
    assert!(dir.join("below/dir").is_dir());
    assert_eq!(fs::read_to_string(dir.join("single")).unwrap(), "one file\nmore\n");
    // The empty volume starts with what the image has there.
    assert_eq!(fs::read_to_string(dir.join("volume/seed")).unwrap(), "from the image\n");
    assert_eq!(fs::metadata(dir.join("volume")).unwrap().mode() & 0o777, 0o750);
    assert_ne!(guest.shell("stat -c %d /rw"), guest.shell("stat -c %d /rw/below"));
}

#[test]
fn fifty_mounts_at_once_and_one_more_while_it_runs() {
    let mut recipe = Recipe::image(Upper::Memory { size_bytes: None });
    let dir = recipe.dir.path().to_owned();
    for number in 0..51 {
        let name = format!("m{number}");
        fs::create_dir(dir.join(&name)).unwrap();
        fs::write(dir.join(&name).join("number"), format!("{number}\n")).unwrap();
        recipe.share(&name, &dir.join(&name), false);
        if number < 50 {
            recipe.mount(MountSource::Share { name, populate: false }, &format!("/mnt/{number}"), false);
        }
    }
    let guest = recipe.boot();
    let numbers: String = (0..50).map(|number| format!("{number}\n")).collect();
    assert_eq!(guest.shell("for i in $(seq 0 49); do cat /mnt/$i/number; done"), numbers);
    let more = Mount {
        source: MountSource::Share { name: "m50".into(), populate: false },
        target: "/late".into(),
        read_only: false,
    };
    guest.session.add_mount(more, SOON).unwrap();
    assert_eq!(guest.shell("cat /late/number"), "50\n");
    guest.session.remove_mount("/late", SOON).unwrap();
    assert_eq!(guest.shell("ls /late"), "");
}

#[test]
fn shares_come_and_go_while_a_guest_runs_jailed_or_not() {
    for jailed in [false, true] {
        let mut recipe = Recipe::image(Upper::Memory { size_bytes: None });
        (recipe.grows, recipe.jailed) = (true, jailed);
        let dir = recipe.dir.path().to_owned();
        for name in ["first", "later"] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("name"), format!("{name}\n")).unwrap();
        }
        recipe.share("first", &dir.join("first"), false);
        recipe.mount(MountSource::Share { name: "first".into(), populate: false }, "/first", false);
        let guest = recipe.boot();
        let shares = guest.shares.as_ref().unwrap();
        assert_eq!(guest.shell("cat /first/name"), "first\n");

        shares.add("later", File::open(dir.join("later")).unwrap().into(), false).unwrap();
        assert_eq!(shares.names(), ["first", "later"]);
        let again = File::open(&dir).unwrap().into();
        assert!(shares.add("later", again, false).unwrap_err().to_string().contains("later"));
        let source = MountSource::Share { name: "later".into(), populate: false };
        let mount = Mount { source, target: "/later".into(), read_only: false };
        guest.session.add_mount(mount, SOON).unwrap();
        assert_eq!(guest.shell("cat /later/name; echo more > /later/new; cat /first/name"), "later\nfirst\n");
        assert_eq!(fs::read_to_string(dir.join("later/new")).unwrap(), "more\n");

        guest.session.remove_mount("/later", SOON).unwrap();
        shares.remove("later").unwrap();
        assert!(shares.remove("later").is_err());
        assert_eq!(guest.shell("ls /later; echo end > /first/end; cat /first/end"), "end\n");
    }
}

#[test]
fn a_jailed_machine_takes_no_share_it_was_not_made_for() {
    let mut recipe = Recipe::directory();
    recipe.jailed = true;
    let guest = recipe.boot();
    let later = File::open(guest.path("tree/data")).unwrap().into();
    let error = guest.shares.as_ref().unwrap().add("later", later, true).unwrap_err();
    assert!(error.to_string().contains("was not made to have shares added"), "{error}");
    assert_eq!(guest.shell("cat /data/seed"), "from the image\n");
}

#[test]
fn a_directory_is_a_root_and_takes_its_writes() {
    let guest = Recipe::directory().boot();
    assert_eq!(
        guest.shell("cat /data/seed; echo written > /data/out; ls /proc/1/exe"),
        "from the image\n/proc/1/exe\n"
    );
    assert_eq!(fs::read_to_string(guest.path("tree/data/out")).unwrap(), "written\n");
}

#[test]
fn a_hundred_megabytes_pass_through_a_guest_and_a_terminal_works() {
    const MEGABYTES: u32 = 100;
    let guest = Recipe::image(Upper::Memory { size_bytes: None }).boot();
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    let streams = Streams::Pipes {
        stdin: Input::Fd(input.into()),
        stdout: Output::Fd(output.into()),
        stderr: Output::Discard,
    };
    let began = Instant::now();
    let process = guest.session.exec(shell("exec cat"), streams).unwrap();
    let feeder = std::thread::spawn(move || {
        for number in 0..MEGABYTES {
            feed.write_all(&number.to_le_bytes().repeat(1 << 18)).unwrap();
        }
    });
    let mut megabyte = vec![0; 1 << 20];
    for number in 0..MEGABYTES {
        drain.read_exact(&mut megabyte).unwrap();
        assert!(megabyte == number.to_le_bytes().repeat(1 << 18), "megabyte {number} is damaged");
    }
    feeder.join().unwrap();
    assert_eq!(drain.read(&mut megabyte).unwrap(), 0);
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(0));
    eprintln!("{MEGABYTES} MB both ways in {:?}", began.elapsed());
    let (output, screen) = tap();
    let size = TermSize { rows: 11, columns: 33 };
    let streams = Streams::Terminal { size, input: Input::Empty, output };
    let process = guest.session.exec(shell("stty size; tty"), streams).unwrap();
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(0));
    let seen = String::from_utf8(screen.try_iter().flatten().collect()).unwrap();
    assert!(seen.starts_with("11 33\r\n/dev/pts/"), "{seen:?}");
}

#[test]
fn the_main_commands_terminal_is_the_machines_console() {
    let guest = Recipe::image(Upper::Memory { size_bytes: None }).boot();
    let (output, screen) = tap();
    let size = TermSize { rows: 11, columns: 33 };
    let streams = Streams::Terminal { size, input: Input::Empty, output };
    let mut main = shell("echo to the console > /dev/console; stty size < /dev/console");
    (main.purpose, main.user) = (Purpose::Main, "app".to_owned());
    let process = guest.session.exec(main, streams).unwrap();
    assert_eq!(wait(&process).unwrap(), ExitStatus::Code(0));
    let seen = String::from_utf8(screen.try_iter().flatten().collect()).unwrap();
    assert_eq!(seen, "to the console\r\n11 33\r\n");
}

#[test]
fn a_root_that_is_not_there_is_an_error_that_says_so() {
    let guest = Recipe::new(Root::Image { upper: Upper::ReadOnly }).boot();
    match guest.exec(shell("true")).0 {
        Err(SessionError::Setup(message)) => assert!(message.contains("serial `root`"), "{message}"),
        other => panic!("{other:?}"),
    }
}
