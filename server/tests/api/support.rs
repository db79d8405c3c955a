//! A server in this process, and a client of few words.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use monocore_api::{HostReport, VersionInfo};
use monocore_orchestrator::{Home, Launcher};
use monocore_server::{ServerHost, ServerOptions, run};
use serde_json::Value;
use tokio::sync::oneshot;

/// A server on a free port and a socket, with a state directory of its own.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) home: Home,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), monocore_server::Error>>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error's code.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

pub(crate) fn host() -> ServerHost {
    ServerHost {
        version: VersionInfo {
            monocore: "0".into(),
            api: "v1".into(),
            kernel: None,
            init: None,
            platform: "linux/test".into(),
        },
        report: || HostReport { can_run: false, checks: Vec::new() },
        before_pull: || Ok(()),
    }
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_, _| ())
    }

    /// Starts a server with options that `change` changes.
    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions, &Home)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        home.create().unwrap();
        let socket = dir.path().join("socket");
        let mut options = ServerOptions {
            listen: Some(loopback()),
            socket: Some(socket.clone()),
            tls_cert: None,
            tls_key: None,
            require_token: false,
            private: false,
            rate_limit: 0,
        };
        change(&mut options, &home);
        let launcher = Launcher { home: home.clone(), program: "/bin/false".into() };
        let (told, places) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let mut stopped = Some(stopped);
            let stop = async move || match stopped.take() {
                Some(stopped) => drop(stopped.await),
                None => std::future::pending().await,
            };
            let ready = |places: &[String]| told.send(places.to_vec()).unwrap();
            runtime.block_on(run(launcher, host(), &options, Vec::new(), ready, stop))
        });
        let places = places.recv_timeout(Duration::from_secs(60)).expect("the server listens");
        let address = places.iter().find_map(|place| place.split_once("://")?.1.parse().ok()).unwrap();
        Self { dir, home, address, socket, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends the server as a signal does.
    pub(crate) fn stop(&mut self) -> Result<(), monocore_server::Error> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// A request over TCP with its usual Host header.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, &[("Host", &self.address.to_string())], body)
    }

    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        exchange(self.connect(), method, path, headers, body)
    }

    pub(crate) fn ask_unix(&self, method: &str, path: &str, body: &str) -> Answer {
        exchange(UnixStream::connect(&self.socket).unwrap(), method, path, &[("Host", "x")], body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Sends a request on a connection of its own and reads the answer to its end.
pub(crate) fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    request.push_str(body);
    // A server that answers before it has read everything closes.
    let _ = stream.write_all(request.as_bytes());
    read_answer(&mut stream)
}

pub(crate) fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || more.len() < size {
            break;
        }
        body.push_str(&more[..size]);
        rest = more[size..].trim_start_matches("\r\n");
    }
    body
}
