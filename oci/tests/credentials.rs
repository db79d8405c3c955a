//! Who a pull says it is: Docker's configuration, credential helpers, and what a registry makes of them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use monocore_test_images::image::{Compression, Layer, documents, pack};
use serde_json::{Value, json};
use support::child::pull_apart;
use support::server::{Answer, Content, Request, Server};

/// `user:word` as HTTP's basic scheme has it.
const BASIC: &str = "Basic dXNlcjp3b3Jk";

fn content() -> Content {
    let mut layer = Layer::default();
    layer.file("f", b"for some only");
    let layers = [pack(&layer, Compression::Gzip)];
    Content::image(&documents(&layers, json!({})), &layers)
}

/// Answers those who show `expected`, and tells all others `challenge`; blobs lie on another host.
fn guarded(
    challenge: &'static str,
    expected: &'static str,
    token: fn(&Request) -> Answer,
) -> (Server, Server) {
    let content = content();
    let blobs = content.clone();
    let other = Server::start(move |request| blobs.answer(request));
    let elsewhere = other.address.clone();
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return token(request);
        }
        if request.headers.get("authorization").is_none_or(|shown| shown != expected) {
            let challenge = challenge.replace("HOST", &request.headers["host"]);
            return Answer::status(401).header("www-authenticate", &challenge);
        }
        if request.path.contains("/blobs/") {
            return Answer::status(307).header("location", &format!("http://{elsewhere}{}", request.path));
        }
        content.answer(request)
    });
    (server, other)
}

fn nobody(_: &Request) -> Answer {
    Answer::status(500)
}

fn with_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    path
}

/// Pulls with this `config.json`, and with `docker-credential-test` as a shell script of this text.
fn pull(server: &Server, config: &Value, helper: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("config.json"), config.to_string()).unwrap();
    let program = home.path().join("docker-credential-test");
    fs::write(&program, format!("#!/bin/sh\n{helper}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = with_path(home.path());
    let environment: [(&str, &OsStr); 1] = [("PATH", &path)];
    pull_apart(&format!("{}/some/image:1", server.address), home.path(), None, &environment)
}

/// Does nothing unless it is started by another test.
#[test]
fn child() {
    if let Some(result) = support::child::pull() {
        println!("{result}");
    }
}

#[test]
fn a_password_is_shown_to_its_registry_and_nobody_else() {
    let (server, other) = guarded("Basic realm=\"r\"", BASIC, nobody);
    let config = json!({"auths": {&server.address: {"auth": "dXNlcjp3b3Jk"}}});
    assert_eq!(pull(&server, &config, ""), "taken");
    assert!(!other.seen().is_empty());
    assert!(other.seen().iter().all(|request| !request.headers.contains_key("authorization")));
    let first = &server.seen()[0];
    assert!(!first.headers.contains_key("authorization"), "not before it is asked for");
}

#[test]
fn a_password_is_exchanged_for_a_token() {
    let token = |request: &Request| match request.headers.get("authorization") {
        Some(shown) if shown == BASIC && request.method == "GET" => Answer::ok(br#"{"token":"secret"}"#),
        _ => Answer::status(401),
    };
    let (server, other) =
        guarded("Bearer realm=\"http://HOST/token\",service=\"reg\"", "Bearer secret", token);
    let config = json!({"auths": {&server.address: {"username": "user", "password": "word"}}});
    assert_eq!(pull(&server, &config, ""), "taken");
    assert!(other.seen().iter().all(|request| !request.headers.contains_key("authorization")));
    let asked = server.seen().into_iter().find(|request| request.path.starts_with("/token")).unwrap();
    assert_eq!(asked.path, "/token?service=reg&scope=repository%3Asome%2Fimage%3Apull");
}

/// OAuth2's form of a token request, for an identity token.
fn oauth2(request: &Request) -> Answer {
    let fields: Vec<&str> = request.body.split('&').collect();
    let wanted = [
        "grant_type=refresh_token",
        "refresh_token=an+identity",
        "service=reg",
        "scope=repository%3Asome%2Fimage%3Apull",
    ];
    let form =
        request.headers.get("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    match request.method == "POST" && form && wanted.iter().all(|field| fields.contains(field)) {
        true => Answer::ok(br#"{"access_token":"secret","expires_in":60}"#),
        false => Answer::status(400),
    }
}

#[test]
fn an_identity_token_is_exchanged_for_a_token() {
    let challenge = "Bearer realm=\"http://HOST/token\",service=\"reg\"";
    let (server, _other) = guarded(challenge, "Bearer secret", oauth2);
    let config = json!({"auths": {&server.address: {"identitytoken": "an identity"}}});
    assert_eq!(pull(&server, &config, ""), "taken");
    assert_eq!(server.count("/token"), 1, "one token serves all");
    assert!(server.seen().iter().all(|request| !request.path.contains("identity")), "not in an address");
}

#[test]
fn helpers_are_asked_for_the_registry() {
    let (server, _other) = guarded("Basic realm=\"r\"", BASIC, nobody);
    let helper = format!(
        r#"read -r host; test "$1" = get -a "$host" = {} && echo '{{"ServerURL":"x","Username":"user","Secret":"word"}}'"#,
        server.address
    );
    assert_eq!(pull(&server, &json!({"credHelpers": {&server.address: "test"}}), &helper), "taken");
    assert_eq!(pull(&server, &json!({"credsStore": "test"}), &helper), "taken");

    let challenge = "Bearer realm=\"http://HOST/token\",service=\"reg\"";
    let (server, _other) = guarded(challenge, "Bearer secret", oauth2);
    let helper = r#"echo '{"Username":"<token>","Secret":"an identity"}'"#;
    assert_eq!(pull(&server, &json!({"credsStore": "test"}), helper), "taken");
}

#[test]
fn helpers_that_have_nothing_or_fail_are_told_apart() {
    let content = content();
    let server = Server::start(move |request| match request.headers.get("authorization") {
        None if !request.path.starts_with("/token") => {
            let challenge = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
            Answer::status(401).header("www-authenticate", &challenge)
        }
        None => Answer::ok(br#"{"token":"for anybody"}"#),
        Some(_) => content.answer(request),
    });
    let store = json!({"credsStore": "test"});
    let none = "echo 'credentials not found in native keychain'; exit 1";
    assert_eq!(pull(&server, &store, none), "taken");
    let told = pull(&server, &store, "exit 3");
    assert!(told.contains("docker-credential-test failed with exit status: 3"), "{told}");
    let told = pull(&server, &store, "echo nonsense");
    assert!(told.contains("docker-credential-test"), "{told}");
    let told = pull(&server, &json!({"credsStore": "absent"}), "");
    assert!(told.contains("docker-credential-absent"), "{told}");
    let told = pull(&server, &json!({"credsStore": "../../bin/sh"}), "");
    assert!(told.contains("no credential helper's name"), "{told}");
}

#[test]
fn wrong_credentials_are_told_as_such() {
    let (server, _other) = guarded("Basic realm=\"r\"", BASIC, nobody);
    let config = json!({"auths": {&server.address: {"auth": "dXNlcjp3cm9uZw=="}}});
    let told = pull(&server, &config, "");
    assert!(told.contains("denies access"), "{told}");
    assert!(
        told.contains(&format!("docker login {}", server.address)) && told.contains("credential helper"),
        "{told}"
    );
    assert!(!told.contains("wrong") && !told.contains("dXNlcjp3cm9uZw"), "{told}");
    let told = pull(&server, &json!({}), "");
    assert!(told.contains("wants a user and a password"), "{told}");
    let told = pull(&server, &json!({"auths": {&server.address: {"auth": "???"}}}), "");
    assert!(told.contains("not base64"), "{told}");
    let told = pull(&server, &json!({"auths": 7}), "");
    assert!(told.contains("config.json"), "{told}");
}
