//! The MCP inspector's command line: every tool, over both transports. It greets in the older era.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use monocore_tests::world::{PLAIN, World, binary};
use serde_json::{Value, json};

use crate::client::roomy;
use crate::http::Server;

/// What `cargo xtask test` makes of `inspector/package-lock.json`.
const INSPECTOR: &str = "target/inspector/node_modules/@modelcontextprotocol/inspector-cli/build/index.js";

/// The inspector and what it talks to. Each call is a process of its own, which over standard input
/// and output starts a server of its own.
struct Inspector<'a> {
    target: &'a [&'a str],
    called: Mutex<BTreeSet<String>>,
}

impl Inspector<'_> {
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Value {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(INSPECTOR);
        assert!(path.exists(), "{} is missing: `cargo xtask test` makes it", path.display());
        let mut inspector = Command::new("node");
        let (program, its_own) = self.target.split_first().unwrap();
        inspector.arg(path).arg(program).args(arguments).arg("--").args(its_own).stdin(Stdio::null());
        let ended = inspector.env("MONOCORE_HOME", World::get().home()).output().unwrap();
        let diagnostics = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{arguments:?} {:?}: {diagnostics}", self.target);
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    fn tools(&self) -> BTreeSet<String> {
        let listed = self.run(&["--method", "tools/list"]);
        let tools = listed["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Calls a tool; its text, and whether it failed.
    #[track_caller]
    fn call(&self, tool: &str, arguments: &Value) -> (String, bool) {
        self.called.lock().unwrap().insert(tool.to_owned());
        let arguments: Vec<String> = arguments
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => format!("{key}={text}"),
                other => format!("{key}={other}"),
            })
            .collect();
        let mut words = vec!["--method", "tools/call", "--tool-name", tool];
        for argument in &arguments {
            words.extend(["--tool-arg", argument]);
        }
        let told = self.run(&words);
        let is_failure = told["isError"].as_bool().unwrap_or(false);
        (told["content"][0]["text"].as_str().unwrap().to_owned(), is_failure)
    }

    /// The text of a call that must not fail.
    #[track_caller]
    fn text(&self, tool: &str, arguments: Value) -> String {
        let (text, is_failure) = self.call(tool, &arguments);
        assert!(!is_failure, "{tool} {arguments}: {text}");
        text
    }
}

fn every_tool(inspector: &Inspector<'_>, dir: &Path, name: &str) {
    let copy = dir.join(name).display().to_string();
    let command = json!(["sh", "-c", "echo main; exec sleep 1000"]);
    // It knows only arguments whose type stands at their own place: a network comes with the project below.
    let plain = json!({"name": name, "image": PLAIN, "memory_mib": 128, "command": command});
    inspector.text("create_sandbox", plain);
    let ran = inspector.text("exec", json!({"sandbox": name, "script": "echo hi; exit 3"}));
    assert_eq!(ran, "exit code 3\n--- stdout\nhi");
    inspector.text("write_file", json!({"sandbox": name, "path": "/a/b", "content": "text"}));
    assert_eq!(inspector.text("read_file", json!({"sandbox": name, "path": "/a/b"})), "text");
    assert!(inspector.text("list_directory", json!({"sandbox": name, "path": "/a"})).contains(" b\n"));
    inspector.text("download", json!({"sandbox": name, "path": "/a", "host_path": copy}));
    inspector.text("upload", json!({"sandbox": name, "path": "/c", "host_path": copy}));
    assert!(inspector.text("list_sandboxes", json!({})).contains(name));
    assert!(inspector.text("inspect_sandbox", json!({"sandbox": name})).contains(name));
    assert!(inspector.text("stats", json!({"sandbox": name})).contains(name));
    assert!(inspector.text("logs", json!({"sandbox": name})).contains("main"));
    inspector.text("stop_sandbox", json!({"sandbox": name}));
    inspector.text("start_sandbox", json!({"sandbox": name}));
    inspector.text("remove_sandbox", json!({"sandbox": name, "force": true}));
    let code = json!({"code": "echo code", "language": "shell", "image": PLAIN, "memory_mib": 128});
    assert!(inspector.text("run_code", code).contains("code"));
    assert!(inspector.text("list_images", json!({})).contains("test/plain"));
    assert!(inspector.call("pull_image", &json!({"image": "localhost:1/x"})).1, "nothing serves it");
    let sandbox = json!({
        "image": PLAIN, "memory_mib": 128, "network": {"reach": "none"}, "command": ["sleep", "1000"]
    });
    let services = json!([{"service": "one", "sandbox": sandbox}]);
    inspector.text("project_up", json!({"project": name, "services": services}));
    assert!(inspector.text("project_status", json!({"project": name})).contains(name));
    inspector.text("project_down", json!({"project": name}));
    assert_eq!(*inspector.called.lock().unwrap(), inspector.tools());
}

/// The list of tools, a call, and a call that fails. Every call is a new program of Node, which an
/// emulated processor takes ten seconds to start: all tools only where `MONOCORE_TEST_LONG` is set.
fn some_tools(inspector: &Inspector<'_>) {
    assert_eq!(inspector.tools().len(), 20);
    assert!(inspector.text("list_sandboxes", json!({})).contains("sandboxes"));
    assert!(inspector.call("pull_image", &json!({"image": "localhost:1/x"})).1, "nothing serves it");
}

#[test]
fn the_inspector_calls_tools() {
    let dir = World::get().path("mcp-inspector");
    std::fs::create_dir_all(&dir).unwrap();
    let allowed = format!("{}:rw", dir.display());
    let server = Server::start(&["mcp", "--http", "127.0.0.1:0", "--allow-path", &allowed]);
    let url = format!("http://{}/mcp", server.address);
    let (program, policy) = (binary().display().to_string(), roomy().display().to_string());
    let stdio = [&*program, "mcp", "--policy", &policy, "--allow-path", &allowed];
    let over = |target: &[&str], name: &str| {
        let inspector = Inspector { target, called: Mutex::default() };
        match std::env::var_os("MONOCORE_TEST_LONG") {
            Some(_) => every_tool(&inspector, &dir, name),
            None => some_tools(&inspector),
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| over(&stdio, "inspected-stdio"));
        scope.spawn(|| over(&[&url], "inspected-http"));
    });
}
