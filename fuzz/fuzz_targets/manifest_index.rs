//! What registries, archives and configuration files say: manifests, indexes, image configurations, references,
//! challenges, tokens, Docker's credentials. Whatever is taken means the same when it is written again.
//!
//! The first byte says what the rest is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monocore_oci::{Digest, Document, Platform, Reference, fuzzing};

fn document(raw: &[u8]) {
    let Ok(document) = Document::parse(raw) else { return };
    let again = match &document {
        Document::Manifest(manifest) => serde_json::to_vec(manifest),
        Document::Index(index) => serde_json::to_vec(index),
    };
    let again = again.expect("what was JSON is JSON");
    assert_eq!(Document::parse(&again).expect("what was taken is taken"), document);
    if let Document::Index(index) = &document {
        for platform in [Platform::host(), Platform { variant: Some("v7".into()), ..Platform::host() }] {
            if let Some(chosen) = fuzzing::choose(index, &platform) {
                assert!(index.manifests.contains(chosen));
            }
        }
    }
}

fn configuration(raw: &[u8]) {
    for layers in 0..3 {
        let Some(config) = fuzzing::config(raw, layers) else { continue };
        let again = serde_json::to_vec(&config).expect("what was JSON is JSON");
        assert_eq!(serde_json::from_slice::<monocore_oci::ImageConfig>(&again).expect("it is taken"), config);
    }
}

fn reference(text: &str) {
    let Ok(reference) = text.parse::<Reference>() else { return };
    for written in [reference.to_string(), reference.familiar()] {
        assert_eq!(written.parse::<Reference>().expect("what was written is read"), reference, "{written}");
    }
    // It becomes part of an address and of nothing else in it.
    let (registry, repository) = (reference.registry(), reference.repository());
    assert!(registry.len() + repository.len() < 256);
    let tag = reference.tag().unwrap_or_default();
    assert!(!registry.contains('/') && !tag.contains('/'));
    for text in [registry, repository, tag] {
        assert!(!text.contains(['?', '#', '%', '@', '\\', ' ', '\r', '\n', '\0']));
        assert!(!text.split('/').any(|component| matches!(component, "." | "..")));
    }
}

fn small(text: &str) {
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse(), Ok(platform));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((which, raw)) = input.split_first() else { return };
    let text = std::str::from_utf8(raw).unwrap_or_default();
    match which % 8 {
        0 => document(raw),
        1 => configuration(raw),
        2 => reference(text),
        3 => assert!(fuzzing::challenges(text) <= text.len()),
        4 => {
            for registry in ["docker.io", "reg.example:5000", "localhost", ""] {
                fuzzing::credentials(raw, registry);
            }
        }
        5 => assert!(fuzzing::token(raw).is_none_or(|token| !token.is_empty())),
        6 => small(text),
        _ => fuzzing::saved(raw),
    }
});
