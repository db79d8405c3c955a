//! A registry that does what it is told, wrongly if so.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use monocore_test_images::image::{Documents, Packed, digest};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// As much as its `content-length` says.
    pub(crate) body: String,
}

/// An answer, perhaps broken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Answer {
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self { status: 200, body: body.to_vec(), ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server on loopback; every request is remembered.
pub(crate) struct Server {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_as(None, handler)
    }

    /// The same behind TLS.
    pub(crate) fn start_tls(
        config: ServerConfig,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(Some(Arc::new(config)), handler)
    }

    fn start_as(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, log, tls) = (Arc::clone(&handler), Arc::clone(&log), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream.unwrap(), &*handler, &log),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(connection, stream.unwrap()), &*handler, &log);
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests had this in their path.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|request| request.path.contains(part)).count()
    }
}

fn serve(stream: impl Read + Write, handler: &Handler, log: &Mutex<Vec<Request>>) {
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) <= 2 {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let len = headers.get("content-length").map_or(0, |len: &String| len.parse().unwrap());
        let mut body = vec![0; len];
        if input.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8(body).unwrap();
        let request = Request { method, path, headers, body };
        log.lock().unwrap().push(request.clone());
        let answer = handler(&request);
        let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
        if !answer.headers.iter().any(|(name, _)| name == "content-length") {
            head += &format!("content-length: {}\r\n", answer.body.len());
        }
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
        if input.get_mut().write_all(&[head.as_bytes(), b"\r\n", body].concat()).is_err()
            || answer.cut.is_some()
        {
            return;
        }
    }
}

/// A registry's content, by path; blobs answer ranges.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) manifests: BTreeMap<String, Vec<u8>>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

impl Content {
    /// One image, by tag `1` and by digest.
    pub(crate) fn image(documents: &Documents, layers: &[Packed]) -> Self {
        let mut content = Self::default();
        content.manifests.insert("1".into(), documents.manifest.clone());
        content.manifests.insert(digest(&documents.manifest), documents.manifest.clone());
        content.blobs.insert(digest(&documents.config), documents.config.clone());
        content.blobs.extend(layers.iter().map(|layer| (digest(&layer.blob), layer.blob.clone())));
        content
    }

    /// What a faultless registry answers.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        if request.path.contains("/manifests/") {
            return self.manifests.get(name).map_or(Answer::status(404), |raw| Answer::ok(raw));
        }
        let Some(raw) = self.blobs.get(name) else { return Answer::status(404) };
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        match range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok()) {
            None => Answer::ok(raw),
            Some(start) if start < raw.len() => {
                let range = format!("bytes {start}-{}/{}", raw.len() - 1, raw.len());
                Answer { status: 206, ..Answer::ok(&raw[start..]) }.header("content-range", &range)
            }
            Some(_) => Answer::status(416),
        }
    }
}
