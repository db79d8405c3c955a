//! Where the server listens, and where it refuses to.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::support::{Server, exchange, host};
use monocore_orchestrator::{Home, Launcher};
use monocore_server::{Error, Scope, ServerOptions, run, tokens};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

fn refused(home: &Home, options: &ServerOptions) -> Error {
    let launcher = Launcher { home: home.clone(), program: "/bin/false".into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(run(launcher, host(), options, Vec::new(), |_| (), async || ()));
    served.unwrap_err()
}

fn options(listen: &str) -> ServerOptions {
    ServerOptions {
        listen: Some(listen.parse().unwrap()),
        socket: None,
        tls_cert: None,
        tls_key: None,
        require_token: false,
        private: false,
        rate_limit: 0,
    }
}

#[test]
fn the_socket_is_for_its_owner_and_taken_once() {
    let server = Server::start();
    assert_eq!(std::fs::metadata(&server.socket).unwrap().mode() & 0o777, 0o600);
    let second =
        ServerOptions { listen: None, socket: Some(server.socket.clone()), ..options("127.0.0.1:0") };
    assert!(matches!(refused(&server.home, &second), Error::InUse(_)));
    assert_eq!(server.ask_unix("GET", "/healthz", "").status, 200);
    let file = server.dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let third = ServerOptions { socket: Some(file.clone()), ..second };
    assert!(matches!(refused(&server.home, &third), Error::Listen { .. }));
    assert!(file.exists(), "what is not a socket stays");
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let server = Server::with(|options, _| {
        let path = options.socket.clone().unwrap();
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    });
    assert_eq!(server.ask_unix("GET", "/healthz", "").status, 200);
}

#[test]
fn the_network_needs_tls_and_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    assert!(matches!(refused(&home, &options("0.0.0.0:0")), Error::NeedsTls(_)));
    let (cert, key) = certificate(dir.path());
    let with_tls = ServerOptions { tls_cert: Some(cert.clone()), tls_key: Some(key), ..options("0.0.0.0:0") };
    assert!(matches!(refused(&home, &with_tls), Error::NeedsToken(_)));
    tokens::create(&home, "", Scope::Read).unwrap();
    let wrong = ServerOptions { tls_key: Some(cert), ..with_tls };
    assert!(matches!(refused(&home, &wrong), Error::Tls { .. }));
}

#[test]
fn tls_is_spoken() {
    let server = Server::with(|options, home| {
        let (cert, key) = certificate(home.root());
        (options.tls_cert, options.tls_key) = (Some(cert), Some(key));
    });
    let pem = std::fs::read(server.home.root().join("cert.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = rustls::StreamOwned::new(client, server.connect());
    let answer = exchange(stream, "GET", "/healthz", &[("Host", "localhost")], "");
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn certificate(dir: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}
