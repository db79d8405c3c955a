//! Registries behind TLS: whom a pull trusts, where that is said, and what a user is told where it does not.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_oci::{Error, PullOptions, Silent, Store};
use monocore_test_images::image::{Compression, Layer, documents, pack};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use support::child::pull_apart;
use support::server::{Answer, Content, Server};

/// An authority nobody knows.
struct Authority {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for a name or address, and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server's side for `name`; clients show a certificate of `clients`, if there is one to check it.
    fn server(&self, name: &str, clients: Option<&Self>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.der.clone().into()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (certificate, key) = self.issue(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

fn content() -> Content {
    let mut layer = Layer::default();
    layer.file("f", b"over TLS");
    let layers = [pack(&layer, Compression::Gzip)];
    Content::image(&documents(&layers, serde_json::json!({})), &layers)
}

fn registry(config: ServerConfig) -> Server {
    let content = content();
    Server::start_tls(config, move |request| content.answer(request))
}

/// Puts an authority where those of a registry are looked for.
fn trust(folder: &Path, server: &Server, authority: &Authority) {
    let folder = folder.join(&server.address);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("ca.crt"), &authority.pem).unwrap();
}

fn pull(server: &Server, certificates: &Path) -> Result<(), Error> {
    pull_from(&server.address, certificates)
}

fn pull_from(address: &str, certificates: &Path) -> Result<(), Error> {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let mut options = PullOptions::default();
    options.registry.certificates.push(certificates.to_owned());
    let reference = format!("{address}/some/image:1").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let image = runtime.block_on(store.pull(&reference, &options, &Silent))?;
    image.root().map(drop)
}

/// Does nothing unless it is started by another test.
#[test]
fn child() {
    if let Some(result) = support::child::pull() {
        println!("{result}");
    }
}

#[test]
fn an_authority_kept_for_the_registry_is_trusted() {
    let authority = Authority::new("an authority of the tests");
    let server = registry(authority.server("127.0.0.1", None));
    let certificates = tempfile::tempdir().unwrap();
    trust(certificates.path(), &server, &authority);
    pull(&server, certificates.path()).unwrap();
}

#[test]
fn strangers_are_refused_at_once_and_the_user_is_told_what_to_do() {
    let (authority, other) = (Authority::new("one"), Authority::new("another"));
    let certificates = tempfile::tempdir().unwrap();
    let server = registry(authority.server("127.0.0.1", None));
    trust(certificates.path(), &server, &other);
    let begin = Instant::now();
    let error = pull(&server, certificates.path()).unwrap_err();
    assert!(error.to_string().contains("certs.d/HOST:PORT/ca.crt"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "no attempt mends a certificate");
    assert!(server.seen().is_empty());

    let server = registry(authority.server("elsewhere.example", None));
    trust(certificates.path(), &server, &authority);
    let error = pull(&server, certificates.path()).unwrap_err();
    assert!(error.to_string().contains("not good for it"), "{error}");
}

#[test]
fn a_registry_without_tls_is_told_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // What a server makes of a handshake when it expects a request.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let certificates = tempfile::tempdir().unwrap();
    fs::create_dir(certificates.path().join(&address)).unwrap();
    let error = pull_from(&address, certificates.path()).unwrap_err();
    assert!(error.to_string().contains("--insecure"), "{error}");
}

#[test]
fn a_client_shows_the_certificate_kept_for_the_registry() {
    let (authority, clients) = (Authority::new("servers'"), Authority::new("clients'"));
    let server = registry(authority.server("127.0.0.1", Some(&clients)));
    let certificates = tempfile::tempdir().unwrap();
    trust(certificates.path(), &server, &authority);
    assert!(matches!(pull(&server, certificates.path()), Err(Error::Connection { .. })));
    let (certificate, key) = clients.issue("somebody");
    let folder = certificates.path().join(&server.address);
    fs::write(folder.join("client.cert"), certificate.pem()).unwrap();
    let error = pull(&server, certificates.path()).unwrap_err();
    assert!(matches!(&error, Error::Certificates { path, .. } if path.ends_with("client.key")), "{error}");
    fs::write(folder.join("client.key"), key.serialize_pem()).unwrap();
    pull(&server, certificates.path()).unwrap();
}

#[test]
fn dockers_folder_and_the_environment_name_authorities() {
    let authority = Authority::new("an authority of the tests");
    let server = registry(authority.server("127.0.0.1", None));
    let reference = format!("{}/some/image:1", server.address);
    let home = tempfile::tempdir().unwrap();
    // The child's configuration folder is its home.
    trust(&home.path().join("docker/certs.d"), &server, &authority);
    assert_eq!(pull_apart(&reference, home.path(), None, &[]), "taken");

    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("authorities.pem");
    fs::write(&file, &authority.pem).unwrap();
    let mirror = format!("https://{}", server.address);
    let anywhere = "registry.invalid/some/image:1";
    // Where nobody listens: what is on this machine is reached without it.
    let told = [("SSL_CERT_FILE", file.as_os_str()), ("HTTPS_PROXY", OsStr::new("http://127.0.0.1:1"))];
    assert_eq!(pull_apart(anywhere, home.path(), Some(&mirror), &told), "taken");
}

#[test]
fn nothing_leads_from_tls_to_plain_text() {
    let authority = Authority::new("an authority of the tests");
    let content = content();
    let plain = Server::start(move |request| content.answer(request));
    let certificates = tempfile::tempdir().unwrap();
    let refused = |answer: Answer| {
        let server = Server::start_tls(authority.server("127.0.0.1", None), move |_| answer.clone());
        trust(certificates.path(), &server, &authority);
        let error = pull(&server, certificates.path()).unwrap_err();
        assert!(error.to_string().contains("not encrypted"), "{error}");
    };
    let elsewhere = format!("http://{}/v2/some/image/manifests/1", plain.address);
    refused(Answer::status(307).header("location", &elsewhere));
    let challenge = format!("Bearer realm=\"http://{}/token\"", plain.address);
    refused(Answer::status(401).header("www-authenticate", &challenge));
    assert!(plain.seen().is_empty());
}
