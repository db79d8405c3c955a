//! The dashboard in headless Chromium, against a real server with 200 sandboxes that do not run.
//! No guest is needed. Screenshots are left in `target/browser/screenshots`.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use monocore_tests::world::{PLAIN, World};

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// A server on a free port of loopback, which keeps its standard output.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        let socket = World::get().path(&format!("dashboard{}.sock", flags.len()));
        let mut command = World::get().monocore(["serve", "--port", "0", "--socket"]);
        command.arg(socket).args(flags).env("MONOCORE_LOG", "warn");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("http://")).unwrap();
        let address = line[line.find("http://").unwrap()..].trim_end_matches('/').to_owned();
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script of `host_dashboard/` to its end, which must be a success.
#[track_caller]
fn drive(script: &str, arguments: &[&str]) {
    let tools = checkout("target/browser/node_modules");
    assert!(tools.exists(), "{} is missing: `cargo xtask test` makes it", tools.display());
    let mut node = Command::new("node");
    node.arg(checkout("tests/tests/host_dashboard").join(script)).args(arguments);
    let output = node.env("MONOCORE_HOME", World::get().home()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
fn the_dashboard_works_in_a_browser() {
    let open = Server::start(&[]);
    let guarded = Server::start(&["--require-token"]);
    let token = World::get().monocore(["token", "create", "--scope", "admin"]).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    drive("dashboard.mjs", &[&open.address, &guarded.address, token.trim(), PLAIN]);
}
