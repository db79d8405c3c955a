//! Where a registry answers.

use std::net::IpAddr;

use super::{RegistryOptions, certificates};

/// A host that serves a registry's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host, and port if not the usual one.
    pub(super) host: String,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    pub(super) is_mirror: bool,
    /// The registry's name, which credentials are kept under.
    pub(super) registry: String,
}

impl Endpoint {
    /// An endpoint's address of something in a repository.
    pub(super) fn url(&self, repository: &str, path: &str) -> String {
        format!("{}://{}/v2/{repository}/{path}", self.scheme, self.host)
    }
}

/// The endpoints of a registry, in the order they are tried.
pub(super) fn endpoints(registry: &str, options: &RegistryOptions) -> Vec<Endpoint> {
    let scheme = |host: &str| {
        // Who keeps certificates for a registry on loopback wants them used.
        let plain = is_loopback(host) && certificates::folder(&options.certificates, host).is_none();
        if plain || options.plain_http.iter().any(|plain| plain == host) { "http" } else { "https" }
    };
    let mirrors = options.mirrors.get(registry).into_iter().flatten().map(|mirror| {
        let mirror = mirror.trim_end_matches('/');
        let (scheme, host) = match mirror.split_once("://") {
            Some(("http", host)) => ("http", host),
            Some((_, host)) => ("https", host),
            None => (scheme(mirror), mirror),
        };
        Endpoint { host: host.to_owned(), scheme, is_mirror: true, registry: host.to_owned() }
    });
    // Docker Hub's API is not where its name points to.
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let own = Endpoint {
        host: host.to_owned(),
        scheme: scheme(host),
        is_mirror: false,
        registry: registry.to_owned(),
    };
    mirrors.chain([own]).collect()
}

/// Whether a host, with or without a port, is this machine's loopback by its very name.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_unless_told() {
        for (host, scheme) in [
            ("localhost:5000", "http"),
            ("127.0.0.2", "http"),
            ("[::1]:5000", "http"),
            ("ghcr.io", "https"),
            ("localhost.example.com", "https"),
            ("127.0.0.1.example.com", "https"),
            ("plain.example:80", "http"),
        ] {
            let options =
                RegistryOptions { plain_http: vec!["plain.example:80".into()], ..Default::default() };
            assert_eq!(endpoints(host, &options)[0].scheme, scheme, "{host}");
        }
    }

    #[test]
    fn mirrors_come_first() {
        let mirrors = [("docker.io".to_owned(), vec!["http://mirror:80/".to_owned(), "other".to_owned()])];
        let options = RegistryOptions { mirrors: mirrors.into(), ..Default::default() };
        let hosts: Vec<_> =
            endpoints("docker.io", &options).into_iter().map(|e| (e.scheme, e.host)).collect();
        let expected = [("http", "mirror:80"), ("https", "other"), ("https", "registry-1.docker.io")];
        assert_eq!(hosts, expected.map(|(scheme, host)| (scheme, host.to_owned())));
    }
}
