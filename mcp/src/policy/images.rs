//! Patterns of names.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use monocore_oci::Reference;
use serde::{Deserialize, Deserializer, de};

/// Registries that anybody can read.
const PUBLIC: [&str; 8] = [
    "docker.io/**",
    "ghcr.io/**",
    "quay.io/**",
    "gcr.io/**",
    "public.ecr.aws/**",
    "mcr.microsoft.com/**",
    "registry.k8s.io/**",
    "registry.gitlab.com/**",
];

/// Patterns, of which one must match. `*` stops at a slash, `**` does not.
#[derive(Clone, Default)]
pub(crate) struct Globs(Vec<GlobMatcher>);

impl Globs {
    /// # Panics
    /// A pattern is malformed: they are the program's own.
    #[allow(clippy::expect_used, reason = "constants, which a test reads")]
    pub(crate) fn new(patterns: &[&str]) -> Self {
        Self(patterns.iter().map(|pattern| glob(pattern).expect("a pattern of our own")).collect())
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(text))
    }

    pub(crate) fn list(&self) -> String {
        self.0.iter().map(|glob| glob.glob().glob()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list())
    }
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let patterns = Vec::<Pattern>::deserialize(from)?;
        Ok(Self(patterns.into_iter().map(|pattern| pattern.0).collect()))
    }
}

/// Read one by one, so that a mistake has its own place.
struct Pattern(GlobMatcher);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        glob(&String::deserialize(from)?).map(Self).map_err(de::Error::custom)
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher())
}

/// Patterns of images: of the full name, with its tag where the pattern has one.
#[derive(Clone, Debug)]
pub(crate) struct ImageGlobs(Globs);

impl ImageGlobs {
    pub(super) fn public() -> Self {
        Self(Globs::new(&PUBLIC))
    }

    pub(crate) fn matches(&self, image: &Reference) -> bool {
        let name = format!("{}/{}", image.registry(), image.repository());
        let tagged = image.tag().map(|tag| format!("{name}:{tag}"));
        // What a digest leads to is known by the digest alone: the tag beside it says nothing.
        let tagged = tagged.filter(|_| image.digest().is_none());
        self.0.matches(&name) || tagged.is_some_and(|tagged| self.0.matches(&tagged))
    }

    pub(crate) fn list(&self) -> String {
        self.0.list()
    }
}

impl<'de> Deserialize<'de> for ImageGlobs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let patterns = Vec::<ImagePattern>::deserialize(from)?;
        Ok(Self(Globs(patterns.into_iter().map(|pattern| pattern.0).collect())))
    }
}

struct ImagePattern(GlobMatcher);

impl<'de> Deserialize<'de> for ImagePattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        glob(&full(&String::deserialize(from)?)).map(Self).map_err(de::Error::custom)
    }
}

/// The pattern with the registry that Docker means where it has none.
fn full(pattern: &str) -> String {
    let is_registry = |first: &str| first.contains(['.', ':', '*']) || first == "localhost";
    match pattern.split_once('/') {
        Some((first, _)) if is_registry(first) => pattern.to_owned(),
        Some(_) => format!("docker.io/{pattern}"),
        None if pattern == "*" || pattern == "**" => "**".to_owned(),
        None => format!("docker.io/library/{pattern}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, image: &str) -> bool {
        let globs = ImageGlobs(Globs(vec![glob(&full(pattern)).unwrap()]));
        globs.matches(&image.parse().unwrap())
    }

    #[test]
    fn patterns_are_of_full_names() {
        assert!(allows("alpine", "alpine") && allows("alpine", "docker.io/library/alpine:3.20"));
        assert!(!allows("alpine", "evil/alpine") && !allows("alpine", "ghcr.io/library/alpine"));
        assert!(allows("python:3*", "python:3.12-slim") && !allows("python:3*", "python:2"));
        assert!(allows("acme/*", "acme/x") && !allows("acme/*", "acme.example/x"));
        assert!(
            allows("ghcr.io/acme/**", "ghcr.io/acme/a/b:c") && !allows("ghcr.io/acme/*", "ghcr.io/acme/a/b")
        );
        assert!(allows("*", "localhost:5000/x") && allows("**", "a.example/b/c"));
        assert!(allows("*.example.com/**", "eu.example.com/a/b"));
        assert!(!allows("docker.io/**", "docker.io.evil.example/a"));
        let digest = format!("python:3@sha256:{}", "0".repeat(64));
        assert!(allows("python", &digest) && !allows("python:3", &digest));
    }

    #[test]
    fn our_own_patterns_are_well_formed() {
        let public = ImageGlobs::public();
        assert!(public.matches(&"python:3.12".parse().unwrap()));
        assert!(!public.matches(&"localhost:5000/x".parse().unwrap()));
        assert!(!public.matches(&"10.0.0.1:5000/x".parse().unwrap()));
        assert!(Globs::new(&["mcp-*"]).matches("mcp-cache") && !Globs::new(&["mcp-*"]).matches("data"));
    }
}
