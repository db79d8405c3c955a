//! The official Python client: every tool, over both transports, in both eras.

use std::path::{Path, PathBuf};
use std::process::Command;

use monocore_tests::world::{World, binary};

use crate::client::roomy;
use crate::http::Server;

/// What `cargo xtask test` makes of `requirements.txt`.
const PYTHON: &str = "target/mcp/venv/bin/python";

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs the client against what `target` says.
fn every_tool(era: &str, dir: &Path, target: &[&str]) {
    let python = checkout(PYTHON);
    assert!(python.exists(), "{} is missing: `cargo xtask test` makes it", python.display());
    let mut client = Command::new(python);
    client.arg(checkout("tests/tests/mcp/every_tool.py")).arg(era).arg(dir).args(target);
    let ended = client.env("MONOCORE_HOME", World::get().home()).output().unwrap();
    assert!(ended.status.success(), "{era} {target:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn the_official_client_calls_every_tool() {
    let dir = World::get().path("mcp-foreign");
    std::fs::create_dir_all(&dir).unwrap();
    let allowed = format!("{}:rw", dir.display());
    let server = Server::start(&["mcp", "--http", "127.0.0.1:0", "--allow-path", &allowed]);
    let url = format!("http://{}/mcp", server.address);
    let (program, policy) = (binary().display().to_string(), roomy().display().to_string());
    for era in ["auto", "legacy"] {
        every_tool(era, &dir, &[&program, "mcp", "--policy", &policy, "--allow-path", &allowed]);
        every_tool(era, &dir, &[&url]);
    }
}
