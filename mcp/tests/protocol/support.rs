//! A server in this process, and a client of few words on a pair of streams.

use std::time::Duration;

use monocore_mcp::{McpHost, Policy, serve_streams};
use monocore_orchestrator::{Home, Launcher};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Bytes on their way in each direction.
const PIPE: usize = 64 << 10;
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a state directory of its own, and its client's streams.
pub(crate) struct Server {
    _dir: tempfile::TempDir,
    pub(crate) input: WriteHalf<DuplexStream>,
    pub(crate) output: BufReader<ReadHalf<DuplexStream>>,
    next: u64,
    _stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), monocore_mcp::Error>>,
}

pub(crate) fn host(dir: &tempfile::TempDir) -> McpHost {
    let home = Home::at(dir.path().join("home"));
    home.create().unwrap();
    McpHost {
        launcher: Launcher { home, program: "/bin/false".into() },
        version: "0".to_owned(),
        before_pull: || Err(monocore_orchestrator::Error::Host("no pulls in tests".to_owned())),
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let (reads, writes) = tokio::io::split(theirs);
        let (stop, stopped) = oneshot::channel();
        let host = host(&dir);
        let task = tokio::spawn(async move {
            serve_streams(host, Policy::default(), reads, writes, async { drop(stopped.await) }).await
        });
        let (output, input) = tokio::io::split(ours);
        Self { _dir: dir, input, output: BufReader::new(output), next: 1, _stop: stop, task }
    }

    /// A server that was greeted in the older era.
    pub(crate) async fn greeted() -> Self {
        let mut server = Self::start();
        server.ask("initialize", hello("2025-11-25")).await;
        server.notify("notifications/initialized", json!({})).await;
        server
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.input.write_all(bytes)).await.unwrap().unwrap();
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.write(format!("{message}\n").as_bytes()).await;
    }

    pub(crate) async fn send(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.write(format!("{message}\n").as_bytes()).await;
        id
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.output.read_line(&mut line));
        assert!(read.await.expect("an answer in time").unwrap() > 0, "the server goes on");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Sends a request and takes its answer.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let message = self.receive().await;
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Goes away; the server must end well.
    pub(crate) async fn end(self) {
        let Self { input, output, task, _dir, _stop, .. } = self;
        drop((input, output));
        tokio::time::timeout(PATIENCE, task).await.expect("the server ends").unwrap().unwrap();
    }
}

pub(crate) fn hello(version: &str) -> Value {
    json!({
        "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    })
}

/// Parameters of the era without sessions.
pub(crate) fn meta(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

/// The text of an answer to a call.
#[track_caller]
pub(crate) fn text(answer: &Value) -> String {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
}
