//! A running `monocore mcp` on pipes, and a client of few words.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::OnceLock;

use monocore_tests::world::{PLAIN, World};
use serde_json::{Value, json};

/// A client with its server.
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
    /// Answers that came before they were asked for.
    answers: HashMap<u64, Value>,
    /// Notifications in order.
    pub(crate) told: Vec<Value>,
}

impl Client {
    /// Starts a server with these arguments and greets it in the older era of the protocol.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut client = Self::spawn(args);
        let hello = client.ask("initialize", json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
        }));
        assert_eq!(hello["result"]["protocolVersion"], "2025-11-25", "{hello}");
        client.notify("notifications/initialized", json!({}));
        client
    }

    pub(crate) fn spawn(args: &[&str]) -> Self {
        let mut command = World::get().monocore(["mcp"]);
        if !args.contains(&"--policy") {
            command.arg("--policy").arg(roomy());
        }
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output, next: 1, answers: HashMap::new(), told: Vec::new() }
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn write(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Sends a request; its ID.
    pub(crate) fn send(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// Waits for an answer.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            let message = self.receive().expect("the server goes on");
            match message["id"].as_u64() {
                Some(id) => drop(self.answers.insert(id, message)),
                None => self.told.push(message),
            }
        }
    }

    fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        (!line.is_empty())
            .then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    pub(crate) fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        self.send(
            "tools/call",
            json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": tool}}),
        )
    }

    /// The text of a call that must succeed.
    #[track_caller]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> String {
        let id = self.begin(tool, arguments);
        let answer = self.answer(id);
        assert_eq!(answer["result"]["isError"], false, "{tool}: {answer}");
        text(&answer)
    }

    /// The text of a call that must fail.
    #[track_caller]
    pub(crate) fn fails(&mut self, tool: &str, arguments: Value) -> String {
        let id = self.begin(tool, arguments);
        let answer = self.answer(id);
        assert_eq!(answer["result"]["isError"], true, "{tool}: {answer}");
        text(&answer)
    }

    /// Makes a sandbox of PLAIN that idles.
    #[track_caller]
    pub(crate) fn create(&mut self, name: &str) {
        self.call("create_sandbox", plain(&json!({"name": name})));
    }

    /// How many sandboxes are listed whose line has this text.
    pub(crate) fn count(&mut self, text: &str) -> usize {
        self.call("list_sandboxes", json!({})).lines().filter(|line| line.contains(text)).count()
    }

    /// The output of a script that must end with 0.
    #[track_caller]
    pub(crate) fn script(&mut self, sandbox: &str, script: &str) -> String {
        let text = self.call("exec", json!({"sandbox": sandbox, "script": script}));
        let out = text.strip_prefix("exit code 0").unwrap_or_else(|| panic!("{text}"));
        out.strip_prefix("\n--- stdout\n").unwrap_or(out).to_owned()
    }

    /// Goes away; whether the server ended well.
    pub(crate) fn leave(mut self) -> bool {
        drop(self.input.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A policy with room for the sandboxes of all tests, which run side by side.
pub(crate) fn roomy() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let file = World::get().path("mcp-roomy.toml");
        std::fs::write(&file, "[sandboxes]\nmax = 64\n").unwrap();
        file
    };
    FILE.get_or_init(make).clone()
}

/// The text of an answer to a call.
#[track_caller]
pub(crate) fn text(answer: &Value) -> String {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
}

/// A sandbox of PLAIN without a network, with `more`.
pub(crate) fn plain(more: &Value) -> Value {
    let mut wanted = json!({"image": PLAIN, "memory_mib": 128, "network": {"reach": "none"}});
    for (key, value) in more.as_object().unwrap() {
        wanted[key] = value.clone();
    }
    wanted
}
