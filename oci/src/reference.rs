//! Image references, normalised as Docker does (`distribution/reference`).

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Error;

/// What Docker means by an image without a registry.
const DOCKER: &str = "docker.io";
/// Longest registry and repository together.
const NAME_MAX: usize = 255;

/// A full image reference: registry, repository, and a tag or a digest.
///
/// `alpine` is `docker.io/library/alpine:latest`. Where both a tag and a digest are given, the digest counts and the
/// tag is kept for show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host, and port if one was given, of the registry the image belongs to.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Repository in the registry, such as `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository at a digest.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// As short as it can be written and still be read as the same: `alpine:latest`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/");
        // `library/a/b` is not `a/b`, and `docker.io/a.b/c` not what `a.b` has.
        let same = |text: &&str| text.parse().is_ok_and(|read: Self| read == *self);
        let shortest = short.and_then(|short| short.strip_prefix("library/"));
        shortest.filter(same).or(short.filter(same)).unwrap_or(&full).to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::Reference { reference: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
        None => (text, None),
    };
    // A colon behind the last slash starts a tag, one before it a port.
    let colon = name.rfind(':').filter(|colon| !name[*colon..].contains('/'));
    let (name, tag) = colon.map_or((name, None), |colon| (&name[..colon], Some(&name[colon + 1..])));
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(
            "a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`",
        );
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DOCKER, name),
    };
    if !is_host(registry) {
        return Err("the registry is no host name, with a port perhaps");
    }
    let registry = if registry == "index.docker.io" { DOCKER } else { registry };
    let repository = match path.contains('/') || registry != DOCKER {
        true => path.to_owned(),
        false => format!("library/{path}"),
    };
    if !repository.split('/').all(is_component) {
        return Err(
            "a repository has lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`",
        );
    }
    if registry.len() + 1 + repository.len() > NAME_MAX {
        return Err("the name is longer than 255 bytes");
    }
    let tag = match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// Whether the part before the first slash names a registry, not the first half of a Docker Hub repository.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) => {
                let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
                return valid && (after.is_empty() || after.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        !label.is_empty()
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Runs of letters and digits between single separators: `.`, `_`, `__`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = component.as_bytes();
    loop {
        let run = rest.iter().take_while(|byte| alphanumeric(**byte)).count();
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        let separator = rest.iter().take_while(|byte| !alphanumeric(**byte)).count();
        match &rest[..separator] {
            b"" => return true,
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|byte| *byte == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_what_docker_means() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (short, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            (&format!("alpine@{digest}"), &format!("docker.io/library/alpine@{digest}")),
            (&format!("alpine:3@{digest}"), &format!("docker.io/library/alpine:3@{digest}")),
            ("x/a--b__c.d_e/f", "docker.io/x/a--b__c.d_e/f:latest"),
        ] {
            let reference: Reference = short.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn familiar_names_are_short() {
        let familiar = |text: &str| text.parse::<Reference>().unwrap().familiar();
        assert_eq!(familiar("alpine"), "alpine:latest");
        assert_eq!(familiar("user/app:1"), "user/app:1");
        assert_eq!(familiar("ghcr.io/library/app"), "ghcr.io/library/app:latest");
    }

    #[test]
    fn familiar_names_mean_the_same() {
        for text in
            ["library/a/b:1", "docker.io/a.b/c:1", "docker.io/localhost/c:1", "docker.io/library/a.b:1"]
        {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "A",
            "a/B",
            "a:",
            "a:-x",
            "a::b",
            "a@sha256:00",
            "a@md5:00",
            "-a",
            "a..b",
            "a._b",
            "a___b",
            "a b",
            "a\n",
            "host.:5000/a",
            "ho_st.x/a",
            "x.y:99999/a",
            "x.y:+1/a",
            "../a",
            "[::1/a",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
