//! A network card whose other end is a real tap interface, in a network namespace that has nothing else.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monocore_tests::net_load::{Stream, Sum};
use monocore_tests::world::{PLAIN, Ran, World};

const INTERFACE: &str = "tap0";
/// This machine's end of the interface, and the guest's.
const OURS: &str = "10.99.0.1";
const GUEST: &str = "10.99.0.2";
const LONG: u64 = 10_000_000;

/// A network namespace with a tap interface; it is gone with this value.
struct Namespace(&'static str);

impl Namespace {
    fn new(name: &'static str) -> Self {
        // Where nobody made it: the first to open it has the kernel load the driver.
        std::fs::create_dir_all("/dev/net").unwrap();
        let _ = Command::new("mknod").args(["/dev/net/tun", "c", "10", "200"]).stderr(Stdio::null()).status();
        let namespace = Self(name);
        run(Command::new("ip").args(["netns", "add", name]));
        let ours = format!("{OURS}/24");
        for words in [
            &["link", "set", "lo", "up"][..],
            &["tuntap", "add", "dev", INTERFACE, "mode", "tap", "vnet_hdr"],
            &["addr", "add", &ours, "dev", INTERFACE],
            &["addr", "add", "fd99::1/64", "dev", INTERFACE, "nodad"],
            &["link", "set", INTERFACE, "up"],
        ] {
            run(namespace.command("ip").args(words));
        }
        namespace
    }

    /// A program in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.0, program]).stdin(Stdio::null());
        command
    }

    /// `monocore run --network tap:…` in it: a shell's script, in a guest that has its address.
    fn script(&self, world: &World, script: &str) -> Ran {
        let monocore = world.run_command(["--network", &format!("tap:{INTERFACE}"), PLAIN, "sh", "-c"]);
        let set_up = format!(
            "set -e; ip() {{ busybox ip \"$@\"; }}; ip addr add {GUEST}/24 dev eth0; ip addr add fd99::2/64 dev eth0; \
             ip link set eth0 up; while ip addr show dev eth0 | busybox grep -q tentative; do busybox sleep 0.1; done; {script}"
        );
        let mut command = self.command(monocore.get_program().to_str().unwrap());
        command.args(monocore.get_args()).arg(set_up);
        command.envs(monocore.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.output().unwrap().into()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", self.0]).status();
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Writes a long stream to a file; gives its sum.
fn write_stream(path: &Path) -> String {
    let (mut source, mut sum) = (Stream::new(LONG), Sum::default());
    let mut bytes = Vec::new();
    while let Some(block) = source.next_block() {
        sum.add(block);
        bytes.extend_from_slice(block);
    }
    std::fs::write(path, bytes).unwrap();
    sum.line()
}

fn sum_of(path: &Path) -> String {
    let mut sum = Sum::default();
    sum.add(&std::fs::read(path).unwrap());
    sum.line()
}

/// Waits until `condition` holds.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_real_tap_carries_frames_both_ways() {
    let (world, namespace) = (World::get(), Namespace::new("monocore-tap"));
    let (site, upload) = (world.path("tap-site"), world.path("tap-upload"));
    std::fs::create_dir_all(&site).unwrap();
    let sum = write_stream(&site.join("long"));
    let httpd = ["httpd", "-f", "-p", "80", "-h"];
    let _httpd = Running(namespace.command("busybox").args(httpd).arg(&site).spawn().unwrap());
    let mut receiver = namespace.command("busybox");
    // Its own end of input would be the end of all.
    receiver.args(["nc", "-l", "-p", "9000"]).stdin(Stdio::piped()).stdout(File::create(&upload).unwrap());
    let mut receiver = Running(receiver.spawn().unwrap());
    // Over IPv4 and over IPv6, and back: what arrived is what is sent.
    let ran = namespace.script(
        world,
        &format!(
            "busybox ping -c 3 -W 9 {OURS} | grep -c 'bytes from'; busybox ping -6 -c 1 -W 9 fd99::1 | grep -c 'bytes from'; \
             busybox wget -q -O /tmp/long http://{OURS}/long; busybox wget -q -O /tmp/again 'http://[fd99::1]/long'; \
             busybox cmp /tmp/long /tmp/again && echo same; busybox nc {OURS} 9000 < /tmp/long; \
             busybox cat /sys/class/net/eth0/mtu"
        ),
    );
    assert_eq!(ran.out(), "3\n1\nsame\n1500\n", "{ran:?}");
    wait_until("the upload ends", || receiver.0.try_wait().unwrap().is_some());
    assert_eq!(sum_of(&upload), sum);
}

#[test]
fn a_tap_reaches_into_the_guest() {
    let (world, namespace) = (World::get(), Namespace::new("monocore-tap-in"));
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            namespace.script(world, "busybox nc -l -p 7000 > /tmp/heard; busybox cat /tmp/heard; echo end")
        });
        let heard = || {
            let mut client = namespace.command("sh");
            let said = client.args(["-c", &format!("echo hello | busybox nc -w 5 {GUEST} 7000")]).status();
            said.unwrap().success()
        };
        wait_until("the guest listens", heard);
        assert_eq!(guest.join().unwrap().out(), "hello\nend\n");
    });
}
