//! Images of the store that are not what is asked for. No guest runs.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use monocore_tests::image;
use monocore_tests::world::{Ran, World};
use serde_json::json;

/// Nobody listens at its registry.
const IMAGE: &str = "127.0.0.1:1/test/other:latest";

#[test]
fn an_image_of_another_platform_is_named_with_the_reason_why_no_other_one_comes() {
    let world = World::get();
    world.load(IMAGE, &json!({ "Env": ["PATH=/bin"] }), &[image::busybox().unwrap()]);
    for verb in ["create", "run"] {
        let words = [verb, "--platform", "linux/s390x", IMAGE, "true"];
        let refused: Ran = world.monocore(words).output().unwrap().into();
        assert_eq!(refused.code, 125, "{refused:?}");
        let start = format!(
            "image {IMAGE} in the store is for linux/{}, not for what --platform says, and the other one \
             cannot be fetched: ",
            if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        );
        let (_, reason) = refused.stderr.split_once(&start).unwrap_or_else(|| panic!("{refused:?}"));
        assert!(!reason.trim().is_empty(), "{refused:?}");
    }
}
