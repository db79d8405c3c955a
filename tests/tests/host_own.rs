//! The program on this machine: `self update` from a web server on loopback, `self uninstall`, `install`.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use monocore_tests::world::{Ran, binary};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

/// A copy of the program in a directory of its own, as a user installs it.
struct Installed {
    _dir: tempfile::TempDir,
    dir: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(path.join("bin")).unwrap();
        // By another process: one of this program's children would hold a file that is being written, which then cannot be run.
        let mut copy = Command::new("cp");
        assert!(copy.arg(binary()).arg(path.join("bin/monocore")).status().unwrap().success());
        Self { _dir: dir, dir: path }
    }

    fn program(&self) -> PathBuf {
        self.dir.join("bin/monocore")
    }

    fn ran(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(self.program());
        command.args(words).current_dir(&self.dir).env("HOME", &self.dir).env_remove("XDG_CONFIG_HOME");
        command.env("MONOCORE_HOME", self.dir.join("state")).stdin(std::process::Stdio::null());
        command.output().unwrap().into()
    }
}

/// A web server that has these files; its address.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = request.split(' ').nth(1).unwrap();
            let (status, body) = match files.iter().find(|(name, _)| *name == path) {
                Some((_, body)) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // A client may have enough.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://{address}")
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}  monocore\n").into_bytes()
}

/// The publisher's key.
struct Publisher(Ed25519KeyPair);

impl Publisher {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    /// The signature of a program, as it is published.
    fn sign(&self, program: &[u8]) -> Vec<u8> {
        let digest = sha256(program);
        let hex = std::str::from_utf8(&digest[..64]).unwrap();
        let signature = self.0.sign(format!("monocore-program-sha256:{hex}").as_bytes());
        format!("{}\n", BASE64_STANDARD.encode(signature)).into_bytes()
    }

    fn public(&self) -> String {
        BASE64_STANDARD.encode(self.0.public_key())
    }
}

const FRESH: &[u8] = b"#!/bin/sh\necho monocore 9.9.9\n";

#[test]
fn an_update_takes_the_published_program_and_nothing_else() {
    let publisher = Publisher::new(1);
    let broken = b"#!/bin/sh\nexit 1\n";
    let url = serve(vec![
        ("/good", FRESH.to_vec()),
        ("/good.sha256", sha256(FRESH)),
        ("/good.sig", publisher.sign(FRESH)),
        ("/unsigned", FRESH.to_vec()),
        ("/unsigned.sha256", sha256(FRESH)),
        ("/other", FRESH.to_vec()),
        ("/other.sha256", sha256(FRESH)),
        ("/other.sig", publisher.sign(broken)),
        ("/stranger", FRESH.to_vec()),
        ("/stranger.sha256", sha256(FRESH)),
        ("/stranger.sig", Publisher::new(2).sign(FRESH)),
        ("/noise", FRESH.to_vec()),
        ("/noise.sha256", sha256(FRESH)),
        ("/noise.sig", b"<html>".to_vec()),
        ("/forged", b"#!/bin/sh\necho other\n".to_vec()),
        ("/forged.sha256", sha256(FRESH)),
        ("/forged.sig", publisher.sign(FRESH)),
        ("/broken", broken.to_vec()),
        ("/broken.sha256", sha256(broken)),
        ("/broken.sig", publisher.sign(broken)),
        ("/bare", FRESH.to_vec()),
        ("/same.sha256", sha256(&std::fs::read(binary()).unwrap())),
    ]);
    let installed = Installed::new();
    let before = std::fs::read(installed.program()).unwrap();
    let key = installed.dir.join("key");
    std::fs::write(&key, publisher.public()).unwrap();
    let key = key.to_str().unwrap();
    let update =
        |name: &str| installed.ran(&["self", "update", "--key", key, "--url", &format!("{url}/{name}")]);
    let bad = [
        ("forged", "failed verification"),
        ("broken", "does not work"),
        ("bare", "404"),
        ("nothing", "404"),
        ("unsigned", "404"),
        ("other", "not a signature of this program"),
        ("stranger", "not a signature of this program"),
        ("noise", "not the base64 of a signature"),
    ];
    let keyless = installed.ran(&["self", "update", "--url", &format!("{url}/good")]);
    assert!(keyless.code == 1 && keyless.stderr.contains("without a public key"), "{keyless:?}");
    for (name, why) in bad {
        let failed = update(name);
        assert!(failed.code == 1 && failed.stderr.contains(why), "{name}: {failed:?}");
        assert!(std::fs::read(installed.program()).unwrap() == before, "{name} changed the program");
    }
    assert_eq!(update("same").out(), "monocore is up to date\n");
    let plain = installed.ran(&["self", "update", "--url", "http://192.0.2.1/monocore"]);
    assert!(plain.stderr.contains("only https"), "{plain:?}");
    let check = installed.ran(&["self", "update", "--check", "--url", &format!("{url}/good")]);
    assert!(check.out().contains("another program"));
    assert!(update("good").out().contains("monocore 9.9.9"));
    assert_eq!(std::fs::read(installed.program()).unwrap(), FRESH);
    let left: Vec<_> = std::fs::read_dir(installed.dir.join("bin")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(installed.ran(&["version"]).out(), "monocore 9.9.9\n");
}

#[test]
fn an_uninstalled_program_leaves_its_data_unless_asked() {
    for with_data in [false, true] {
        let installed = Installed::new();
        let bin = installed.dir.join("bin");
        std::os::unix::fs::symlink("monocore", bin.join("mc")).unwrap();
        std::fs::write(bin.join("other"), "x").unwrap();
        assert_eq!(installed.ran(&["self", "start-on-boot"]).code, 0);
        assert_eq!(installed.ran(&["serve", "--install-unit"]).code, 0);
        assert_eq!(installed.ran(&["volume", "create", "precious"]).code, 0);
        let unasked = installed.ran(&["self", "uninstall"]);
        assert!(unasked.code == 1 && unasked.stderr.contains("--yes"), "{unasked:?}");
        let words: &[&str] = if with_data { &["--yes", "--data"] } else { &["--yes"] };
        assert_eq!(installed.ran(&[&["self", "uninstall"], words].concat()).code, 0);
        let left: Vec<_> = std::fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        let units = installed.dir.join(".config/systemd/user");
        let left: Vec<_> =
            std::fs::read_dir(&units).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["default.target.wants"]);
        assert_eq!(std::fs::read_dir(units.join("default.target.wants")).unwrap().count(), 0);
        assert_eq!(installed.dir.join("state").exists(), !with_data);
    }
}

#[test]
fn a_command_of_an_image_becomes_a_program_and_goes_again() {
    let installed = Installed::new();
    let made =
        installed.ran(&["install", "--cwd", "-e", "A=it's", "docker.io/library/tool:1.2", "tool", "--flag"]);
    let path = installed.dir.join(".local/bin/tool");
    assert_eq!(made.out(), format!("{}\n", path.display()));
    assert!(made.stderr.contains("is not in PATH"), "{made:?}");
    // Another program in the place of monocore shows how it is called.
    let text = std::fs::read_to_string(&path).unwrap();
    let shown = text.replace(&installed.program().display().to_string(), "/bin/echo");
    let script = installed.dir.join("shown");
    std::fs::write(&script, shown).unwrap();
    let said = Command::new("sh").arg(&script).args(["more", "a b"]).current_dir("/").output().unwrap();
    assert_eq!(
        Ran::from(said).out(),
        "run --quiet --interactive --volume /:/ --workdir / -e A=it's docker.io/library/tool:1.2 tool --flag more a b\n"
    );
    let again = installed.ran(&["install", "--name", "tool", "other"]);
    assert!(again.code == 1 && again.stderr.contains("--force"), "{again:?}");
    assert_eq!(installed.ran(&["install", "--force", "--name", "tool", "other"]).code, 0);
    assert_eq!(
        installed.ran(&["install", "registry.example/a/b:tag"]).out().trim_end(),
        in_bin(&installed.dir, "b")
    );
    assert_eq!(installed.ran(&["uninstall", "tool", "b"]).out(), "tool\nb\n");
    assert_eq!(installed.ran(&["uninstall", "tool"]).code, 1);
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    assert_eq!(installed.ran(&["uninstall", "tool"]).code, 1, "what others made stays");
    assert_eq!(installed.ran(&["install", "--force", "tool"]).code, 1);
    let bad = installed.ran(&["install", "--no-such-flag", "image"]);
    assert!(bad.code == 1 && bad.stderr.contains("--no-such-flag"), "{bad:?}");
}

#[test]
fn a_script_of_a_service_becomes_a_program() {
    let installed = Installed::new();
    let toml =
        "name = \"shop\"\n[[service]]\nname = \"web\"\nbase = \"x\"\nscripts = { seed = \"echo $1\" }\n";
    std::fs::write(installed.dir.join("monocore.toml"), toml).unwrap();
    assert_eq!(installed.ran(&["install", "web:seed"]).out().trim_end(), in_bin(&installed.dir, "seed"));
    let text = std::fs::read_to_string(installed.dir.join(".local/bin/seed")).unwrap();
    let file = installed.dir.join("monocore.toml");
    let words = format!(
        "'compose' '--file' '{}' '--project-name' 'shop' 'run' '--rm' '--no-deps' '--entrypoint' '/bin/sh' 'web' '-c' 'echo $1' 'seed' \"$@\"\n",
        file.display()
    );
    assert!(text.ends_with(&words), "{text}");
}

fn in_bin(home: &Path, name: &str) -> String {
    home.join(".local/bin").join(name).display().to_string()
}
