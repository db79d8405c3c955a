//! This host's name servers.

use std::fs;
use std::net::IpAddr;

/// Where they are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// This host's name servers; none where it lists none, and then no name is found.
pub fn host_resolvers() -> Vec<IpAddr> {
    match fs::read_to_string(RESOLV_CONF) {
        Ok(text) => resolvers(&text),
        Err(error) => {
            tracing::warn!(%error, "{RESOLV_CONF} cannot be read: the guest finds no names");
            Vec::new()
        }
    }
}

/// The servers a resolv.conf(5) names; an address with a zone is none that is understood.
fn resolvers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(|rest| rest.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read_as_the_resolver_does() {
        let text = "# nameserver 9.9.9.9\nsearch a b\nnameserver 1.1.1.1\n nameserver\t::1 \nnameserver fe80::1%eth0\nnameservers 2.2.2.2\n";
        let expected: [IpAddr; 2] = ["1.1.1.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(resolvers(text), expected);
    }
}
