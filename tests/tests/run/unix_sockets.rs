//! Unix sockets of this machine in a guest, and of a guest on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use monocore_tests::world::{PLAIN, Ran, World};
use rustix::process::{Pid, Signal, kill_process};

/// A service of this machine that reverses what each of `count` clients says until its end.
fn service(name: &str, count: usize) -> (PathBuf, JoinHandle<()>) {
    let path = World::get().path(name);
    let listener = UnixListener::bind(&path).unwrap();
    let serve = move || {
        for _ in 0..count {
            let (mut client, _) = listener.accept().unwrap();
            let mut said = Vec::new();
            client.read_to_end(&mut said).unwrap();
            said.reverse();
            client.write_all(&said).unwrap();
        }
    };
    (path, std::thread::spawn(serve))
}

/// The program that is a socket's other end in the guest, as a script calls it.
const PROGRAM: &str =
    "/dev/libraries/ld-linux-x86-64.so.2 --library-path /dev/libraries /dev/programs/unix-socket";

fn programs() -> [String; 4] {
    let folder = Path::new(env!("CARGO_BIN_EXE_unix-socket")).parent().unwrap().display();
    [
        "-v".into(),
        "/lib/x86_64-linux-gnu:/dev/libraries:ro".into(),
        "-v".into(),
        format!("{folder}:/dev/programs:ro"),
    ]
}

fn script(flags: &[&str], script: &str) -> Ran {
    let programs = programs();
    let programs = programs.each_ref().map(String::as_str);
    World::get().script(&[&programs[..], flags].concat(), script)
}

fn ask(path: &str) -> String {
    format!("{PROGRAM} ask {path} abc")
}

#[test]
fn a_socket_as_a_volume_leads_to_it_with_any_network() {
    let (path, serving) = service("service.sock", 4);
    let flag = format!("{}:/run/x/service.sock", path.display());
    for more in
        [&["--network", "nat"][..], &["--network", "tsi"], &["--no-net"], &["--no-net", "--read-only"]]
    {
        let command = format!("test -S /run/x/service.sock && {}", ask("/run/x/service.sock"));
        assert_eq!(script(&[&["-v", &flag][..], more].concat(), &command).out(), "cba\n", "{more:?}");
    }
    serving.join().unwrap();
}

#[test]
fn a_sockets_mode_is_the_hosts_and_read_only_keeps_its_name() {
    let (path, serving) = service("modes.sock", 2);
    let flag = format!("{}:/run/x/service.sock:ro", path.display());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let ask = ask("/run/x/service.sock");
    assert_ne!(script(&["-v", &flag, "-u", "1000"], &ask).code, 0, "the socket is root's");
    let ran = script(&["-v", &flag], &format!("chmod 666 /run/x/service.sock 2>/dev/null || {ask}"));
    assert_eq!(ran.out(), "cba\n");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(script(&["-v", &flag, "-u", "1000"], &ask).out(), "cba\n");
    serving.join().unwrap();
}

#[test]
fn an_ssh_agent_is_every_users() {
    let world = World::get();
    let (path, serving) = service("agent.sock", 1);
    let (programs, command) = (programs(), ask("$SSH_AUTH_SOCK"));
    let mut run = world.run_command(["--ssh-agent", "-u", "1000"]);
    let output =
        run.args(programs).args([PLAIN, "sh", "-c", &command]).env("SSH_AUTH_SOCK", &path).output().unwrap();
    assert_eq!(Ran::from(output).out(), "cba\n");
    serving.join().unwrap();
    let refused =
        world.run_command(["--ssh-agent", PLAIN, "true"]).env_remove("SSH_AUTH_SOCK").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("SSH_AUTH_SOCK is not set"));
}

#[test]
fn a_published_socket_leads_into_the_guest_and_goes_with_it() {
    let world = World::get();
    let path = world.path("published.sock");
    // As a sandbox that was killed leaves it behind.
    drop(UnixListener::bind(&path).unwrap());
    let mut child = world.run_command(["--publish-socket", &format!("/tmp/app.sock:{}", path.display())]);
    let command = format!("exec {PROGRAM} serve /tmp/app.sock");
    child.args(programs()).args([PLAIN, "sh", "-c", &command]).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..3 {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"abc").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "abc");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(!path.exists(), "the socket goes with its sandbox");
}

/// An agent of OpenSSH that ends with the test.
struct SshAgent(std::process::Child);

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_keys_of_this_machines_ssh_agent_are_used_in_a_guest() {
    let world = World::get();
    let (socket, key) = (world.path("ssh-agent.sock"), world.path("ssh-key"));
    let agent =
        Command::new("/usr/bin/ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn();
    let _agent = SshAgent(agent.unwrap());
    while UnixStream::connect(&socket).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let here = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = command.args(arguments).env("SSH_AUTH_SOCK", &socket).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let path = key.to_str().unwrap();
    here("/usr/bin/ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "test-key", "-f", path]);
    here("/usr/bin/ssh-add", &["-q", path]);
    // The secret stays here: the guest has only the agent.
    std::fs::remove_file(&key).unwrap();
    let known = here("/usr/bin/ssh-add", &["-l"]);
    let program = |name: &str| {
        format!(
            "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu /host/bin/{name}"
        )
    };
    let script = format!(
        "{} -l && cat > /tmp/key.pub && echo signed > /tmp/text && {} -Y sign -f /tmp/key.pub -n test /tmp/text && \
         cat /tmp/text.sig",
        program("ssh-add"),
        program("ssh-keygen"),
    );
    for more in [&["--network", "nat"][..], &["--no-net"]] {
        let mut run = world.run_command(["-i", "--ssh-agent", "-v", "/usr:/host:ro"]);
        run.args(more).args([PLAIN, "sh", "-c", &script]).env("SSH_AUTH_SOCK", &socket);
        run.stdin(std::fs::File::open(key.with_extension("pub")).unwrap());
        let ran = Ran::from(run.output().unwrap());
        let signature = ran.out().strip_prefix(&known).unwrap_or_else(|| panic!("{ran:?}"));
        assert!(signature.starts_with("-----BEGIN SSH SIGNATURE-----"), "{ran:?}");
    }
}
