//! Registries that fail: what can be mended is, all else ends in a clear error, and nothing partial is ever visible.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use monocore_oci::{Error, Image, PullOptions, PullPolicy, Reference, Silent, Store};
use monocore_test_images::image::{Compression, Layer, Packed, digest, documents, pack};
use serde_json::json;
use support::server::{Answer, Content, Request, Server};

fn layer() -> Packed {
    let mut layer = Layer::default();
    let mut state = 1u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    layer.file("noise", &(0..1_000_000).map(noise).collect::<Vec<_>>());
    pack(&layer, Compression::Gzip)
}

fn content() -> (Content, String) {
    let layer = layer();
    let content =
        Content::image(&documents(std::slice::from_ref(&layer), json!({})), std::slice::from_ref(&layer));
    (content, digest(&layer.blob))
}

fn pull_as(home: &Path, server: &Server, options: &PullOptions) -> Result<Image, Error> {
    let store = Store::open(home).unwrap();
    let reference: Reference = format!("{}/some/image:1", server.address).parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(store.pull(&reference, options, &Silent));
    match &result {
        Ok(image) => assert!(image.root().is_ok()),
        Err(_) => assert_nothing_partial(home),
    }
    result
}

fn pull(home: &Path, server: &Server) -> Result<Image, Error> {
    pull_as(home, server, &PullOptions::default())
}

/// Every blob there is is what its name says, every layer is complete, and no image is known.
fn assert_nothing_partial(home: &Path) {
    let oci = home.join("oci");
    for blob in std::fs::read_dir(oci.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        let name = format!("sha256:{}", blob.file_name().unwrap().to_str().unwrap());
        assert_eq!(digest(&std::fs::read(&blob).unwrap()), name);
    }
    assert_eq!(std::fs::read_dir(oci.join("erofs/images")).unwrap().count(), 0);
    assert!(Store::open(home).unwrap().list().unwrap().is_empty());
}

#[test]
fn a_connection_that_drops_is_taken_up_where_it_broke() {
    for percent in [1, 50, 99] {
        let (content, layer) = content();
        let drops = AtomicUsize::new(0);
        let wanted = layer.clone();
        let server = Server::start(move |request| {
            let mut answer = content.answer(request);
            if request.path.ends_with(&wanted) && drops.fetch_add(1, Ordering::Relaxed) < 2 {
                answer.cut = Some(answer.body.len() * percent / 100);
            }
            answer
        });
        let home = tempfile::tempdir().unwrap();
        pull(home.path(), &server).unwrap();
        let ranges: Vec<_> = server.seen().into_iter().filter(|r| r.path.ends_with(&layer)).collect();
        assert_eq!(ranges.len(), 3, "{percent}");
        assert!(ranges[1].headers.contains_key("range") && ranges[2].headers.contains_key("range"));
    }
}

#[test]
fn a_later_process_goes_on_where_one_gave_up() {
    let (content, layer) = content();
    let size = content.blobs[&layer].len();
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (wanted, is_broken) = (layer.clone(), std::sync::Arc::clone(&broken));
    let server = Server::start(move |request| {
        let mut answer = content.answer(request);
        if request.path.ends_with(&wanted) && is_broken.load(Ordering::Relaxed) {
            match request.headers.contains_key("range") {
                true => answer = Answer::status(500),
                false => answer.cut = Some(size / 2),
            }
        }
        answer
    });
    let home = tempfile::tempdir().unwrap();
    assert!(pull(home.path(), &server).is_err());
    broken.store(false, Ordering::Relaxed);
    pull(home.path(), &server).unwrap();
    let last = server.seen().into_iter().rfind(|request| request.path.ends_with(&layer)).unwrap();
    let start: usize =
        last.headers["range"].strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
    assert!(start > size / 4, "went on at {start} of {size}");
}

#[test]
fn a_server_without_ranges_sends_it_again() {
    let (content, layer) = content();
    let first = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let plain = Request { headers: Default::default(), ..request.clone() };
        let mut answer = content.answer(&plain);
        if request.path.ends_with(&layer) && first.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.cut = Some(answer.body.len() / 2);
        }
        answer
    });
    let home = tempfile::tempdir().unwrap();
    pull(home.path(), &server).unwrap();
}

#[test]
fn busy_and_failing_servers_are_asked_again() {
    for status in [429, 500, 503] {
        let (content, _) = content();
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| match count.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Answer::status(status).header("retry-after", "0"),
            _ => content.answer(request),
        });
        let home = tempfile::tempdir().unwrap();
        pull(home.path(), &server).unwrap();
    }
}

#[test]
fn a_server_that_only_fails_is_given_up() {
    let server = Server::start(|_| Answer::status(503).header("retry-after", "0"));
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server).unwrap_err();
    assert!(matches!(&error, Error::Registry { reason, .. } if reason.contains("503")), "{error}");
    assert!(server.seen().len() < 10);
}

#[test]
fn wrong_content_is_refused() {
    let longer = |mut raw: Vec<u8>| {
        raw.push(0);
        raw
    };
    let flipped = |mut raw: Vec<u8>| {
        let middle = raw.len() / 2;
        raw[middle] ^= 1;
        raw
    };
    let short = |raw: Vec<u8>| raw[..raw.len() - 1].to_vec();
    let other = |raw: Vec<u8>| vec![b'x'; raw.len()];
    let damages: [&dyn Fn(Vec<u8>) -> Vec<u8>; 4] = [&longer, &flipped, &short, &other];
    for (index, damage) in damages.into_iter().enumerate() {
        let (mut content, layer) = content();
        let raw = content.blobs.remove(&layer).unwrap();
        content.blobs.insert(layer.clone(), damage(raw));
        let server = Server::start(move |request| content.answer(request));
        let home = tempfile::tempdir().unwrap();
        let error = pull(home.path(), &server).unwrap_err();
        let clear = matches!(&error, Error::Verification { .. } | Error::Registry { .. });
        assert!(clear && error.to_string().contains(&layer), "{index}: {error}");
    }
}

#[test]
fn a_length_that_is_wrong_is_a_break_or_refused() {
    // Longer than what comes: the connection breaks, and is taken up again for what is missing.
    let (content, layer) = self::content();
    let first = AtomicUsize::new(0);
    let wanted = layer.clone();
    let server = Server::start(move |request| {
        let answer = content.answer(request);
        if request.path.ends_with(&wanted) && first.fetch_add(1, Ordering::Relaxed) == 0 {
            let len = (answer.body.len() * 2).to_string();
            let all = answer.body.len();
            return Answer { cut: Some(all), ..answer }.header("content-length", &len);
        }
        answer
    });
    let home = tempfile::tempdir().unwrap();
    pull(home.path(), &server).unwrap();
    // Shorter, each time: no attempt brings what was promised.
    let (content, layer) = self::content();
    let wanted = layer.clone();
    let server = Server::start(move |request| match content.answer(request) {
        answer if request.path.ends_with(&wanted) => {
            let len = (answer.body.len() / 2).to_string();
            answer.header("content-length", &len)
        }
        answer => answer,
    });
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server).unwrap_err();
    assert!(error.to_string().contains("layer") || matches!(error, Error::Connection { .. }), "{error}");
}

#[test]
fn a_wrong_size_is_refused() {
    for wrong in [-1i64, 1, 1 << 36] {
        let layer = layer();
        let documents = documents(std::slice::from_ref(&layer), json!({}));
        let mut manifest: serde_json::Value = serde_json::from_slice(&documents.manifest).unwrap();
        let size = manifest["layers"][0]["size"].as_i64().unwrap();
        manifest["layers"][0]["size"] = json!(size + wrong);
        let mut content = Content::image(&documents, &[layer]);
        content.manifests.insert("1".into(), serde_json::to_vec(&manifest).unwrap());
        let server = Server::start(move |request| content.answer(request));
        let home = tempfile::tempdir().unwrap();
        let error = pull(home.path(), &server).unwrap_err();
        let clear = matches!(&error, Error::Verification { .. } | Error::Registry { .. });
        assert!(clear, "{wrong}: {error}");
    }
}

#[test]
fn a_wrong_manifest_digest_is_refused() {
    let (mut content, _) = content();
    let manifest = content.manifests["1"].clone();
    let digest = digest(&manifest);
    content.manifests.insert(digest.clone(), [manifest, b" ".to_vec()].concat());
    let server = Server::start(move |request| content.answer(request));
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let reference: Reference = format!("{}/some/image@{digest}", server.address).parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(store.pull(&reference, &PullOptions::default(), &Silent));
    assert!(matches!(result, Err(Error::Verification { .. })), "{result:?}");
    assert_nothing_partial(home.path());
}

#[test]
fn a_wrong_diff_id_is_refused() {
    let mut layer = layer();
    layer.diff_id = digest(b"something else");
    let content = Content::image(&documents(std::slice::from_ref(&layer), json!({})), &[layer]);
    let server = Server::start(move |request| content.answer(request));
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server).unwrap_err();
    assert!(
        matches!(&error, Error::Verification { reason, .. } if reason.contains("uncompressed")),
        "{error}"
    );
}

#[test]
fn redirects_end_and_stay_encrypted() {
    let server = Server::start(|request| Answer::status(307).header("location", &request.path));
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server).unwrap_err();
    assert!(error.to_string().contains("redirects more than"), "{error}");
    assert!(server.seen().len() < 20);

    let server = Server::start(|_| Answer::status(302).header("location", "ftp://example.com/x"));
    let error = pull(home.path(), &server).unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

/// A token server and registry in one; blobs lie on another host.
fn guarded(content: Content, other: String, token: impl Fn() -> String + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if request.path.starts_with("/token") {
            let token = json!({"token": token()});
            return Answer::ok(&serde_json::to_vec(&token).unwrap());
        }
        let host = &request.headers["host"];
        if request.headers.get("authorization") != Some(&format!("Bearer {}", token())) {
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"reg\"");
            return Answer::status(401).header("www-authenticate", &challenge);
        }
        if request.path.contains("/blobs/") && !other.is_empty() {
            return Answer::status(307).header("location", &format!("http://{other}{}", request.path));
        }
        content.answer(request)
    })
}

#[test]
fn credentials_stay_with_their_host() {
    let (content, layer) = content();
    let blobs = content.clone();
    let other = Server::start(move |request| blobs.answer(request));
    let server = guarded(content, other.address.clone(), || "secret".into());
    let home = tempfile::tempdir().unwrap();
    pull(home.path(), &server).unwrap();
    assert!(other.count(&layer) > 0);
    assert!(other.seen().iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(server.count("/token"), 1, "one token serves all");
    let asked = server.seen().into_iter().find(|request| request.path.starts_with("/token")).unwrap();
    assert!(asked.path.contains("scope=repository%3Asome%2Fimage%3Apull"), "{}", asked.path);
}

#[test]
fn an_expired_token_is_renewed() {
    let (content, _) = content();
    let uses = AtomicUsize::new(0);
    // Each token is good for a few questions, then another is wanted.
    let server =
        guarded(content, String::new(), move || format!("t{}", uses.fetch_add(1, Ordering::Relaxed) / 4));
    let home = tempfile::tempdir().unwrap();
    pull(home.path(), &server).unwrap();
    assert!(server.count("/token") > 1);
}

#[test]
fn refusal_is_told_as_such() {
    let words = br#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#;
    let server = Server::start(move |_| Answer { status: 403, body: words.to_vec(), ..Answer::default() });
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server).unwrap_err();
    assert!(matches!(&error, Error::Denied { reason, .. } if reason.contains("not for you")), "{error}");
    let server = Server::start(|_| Answer::status(404));
    let error = pull(home.path(), &server).unwrap_err();
    assert!(
        matches!(error, Error::NotFound { .. }) && error.to_string().contains("has no image "),
        "{error}"
    );
}

#[test]
fn documents_without_end_are_not_read() {
    let server = Server::start(|_| Answer::ok(&vec![b' '; 5 << 20]));
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn an_index_that_holds_itself_ends() {
    // A document cannot hold its own digest; a registry that sends the next level for each comes closest.
    let level = |inner: &str, size: usize| {
        let entry = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": inner, "size": size,
            "platform": {"os": "linux", "architecture": "amd64"}});
        serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]})).unwrap()
    };
    let mut content = Content::default();
    let mut inner = (digest(b""), 0);
    for _ in 0..50 {
        let raw = level(&inner.0, inner.1);
        inner = (digest(&raw), raw.len());
        content.manifests.insert("1".into(), raw.clone());
        content.manifests.insert(inner.0.clone(), raw);
    }
    let server = Server::start(move |request| content.answer(request));
    let home = tempfile::tempdir().unwrap();
    let platform = Some("linux/amd64".parse().unwrap());
    let error = pull_as(home.path(), &server, &PullOptions { platform, ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
    assert!(server.seen().len() < 10);
}

#[test]
fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    let (content, layer) = content();
    let own = content.clone();
    let registry = Server::start(move |request| own.answer(request));
    let half = content.clone();
    let mirror = Server::start(move |request| match request.path.contains("/manifests/") {
        true => half.answer(request),
        false => Answer::status(404),
    });
    let mut options = PullOptions::default();
    options
        .registry
        .mirrors
        .insert(registry.address.clone(), vec!["127.0.0.1:1".into(), mirror.address.clone()]);
    let home = tempfile::tempdir().unwrap();
    pull_as(home.path(), &registry, &options).unwrap();
    assert_eq!((mirror.count("/manifests/"), registry.count("/manifests/")), (1, 0));
    assert_eq!((mirror.count(&layer), registry.count(&layer)), (1, 1));
}

#[test]
fn what_the_store_has_needs_no_network() {
    let (content, layer) = content();
    let server = Server::start(move |request| content.answer(request));
    let home = tempfile::tempdir().unwrap();
    pull(home.path(), &server).unwrap();
    let before = server.seen().len();
    pull(home.path(), &server).unwrap();
    assert_eq!(server.seen().len(), before, "the second time");
    // Nor is the layer read: what was verified once is not looked at again.
    let blob = home.path().join("oci/blobs/sha256").join(&layer["sha256:".len()..]);
    std::fs::write(&blob, vec![0; std::fs::read(&blob).unwrap().len()]).unwrap();
    pull(home.path(), &server).unwrap();
    assert_eq!(server.seen().len(), before, "the third time");
    let again = PullOptions { policy: PullPolicy::Always, ..Default::default() };
    pull_as(home.path(), &server, &again).unwrap();
    assert_eq!(server.seen().len(), before + 1, "only the manifest");
    assert_eq!(server.count(&layer), 1);
}

#[test]
fn pulls_at_once_share_the_work() {
    let (content, layer) = content();
    let server = Server::start(move |request| content.answer(request));
    let home = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| pull(home.path(), &server).unwrap());
        }
    });
    assert_eq!(server.count(&layer), 1);
}
