//! Membership in groups of sandboxes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{ParseError, parse_name};

/// A sandbox's place in a group. Members of a group reach each other by name and address, at any port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMembership {
    /// The project that the group is of; groups without a project are shared by all commands.
    #[serde(default)]
    pub project: Option<String>,
    /// The group.
    pub group: String,
    /// Names for the sandbox in this group, beside the sandbox's own. Several members may have the same one.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Names by which this sandbox alone reaches others of the group: from name to name.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// An address of the group's subnet instead of the next free one.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

impl GroupMembership {
    /// Membership in the group `group` without a project.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            project: None,
            group: group.into(),
            aliases: Vec::new(),
            links: BTreeMap::new(),
            address: None,
        }
    }
}

/// `[PROJECT/]GROUP[,alias=NAME]…[,ip=ADDRESS]`.
///
/// # Errors
/// Any other text.
pub fn parse_group(text: &str) -> Result<GroupMembership, ParseError> {
    let problem = || ParseError::new(text, "a group is [PROJECT/]NAME[,alias=NAME][,ip=ADDRESS]");
    let mut words = text.split(',');
    let (project, group) = parse_group_name(words.next().unwrap_or("")).map_err(|_| problem())?;
    let mut membership = GroupMembership { project, ..GroupMembership::new(group) };
    for word in words {
        match word.split_once('=') {
            Some(("alias", name)) => membership.aliases.push(parse_alias(name)?),
            Some(("ip", address)) => membership.address = Some(address.parse().map_err(|_| problem())?),
            _ => return Err(problem()),
        }
    }
    Ok(membership)
}

/// `[PROJECT/]GROUP`: a project, if one is named, and a group.
///
/// # Errors
/// Any other text.
pub fn parse_group_name(text: &str) -> Result<(Option<String>, String), ParseError> {
    let (project, group) = match text.split_once('/') {
        Some((project, group)) => (Some(parse_name(project)?), group),
        None => (None, text),
    };
    Ok((project, parse_name(group)?))
}

/// A name that other members of a group use: labels of letters, digits, `-` and `_`, joined by dots.
///
/// # Errors
/// Any other text, `localhost` and names below it.
pub fn parse_alias(text: &str) -> Result<String, ParseError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.to_ascii_lowercase();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    if text.len() > 253 || is_local || !text.split('.').all(label) {
        return Err(ParseError::new(text, "an alias is a host name, and not localhost"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_names_group_aliases_and_address() {
        assert_eq!(parse_group("back"), Ok(GroupMembership::new("back")));
        let full = parse_group("shop/back,alias=DB,alias=db.internal,ip=10.1.2.3").unwrap();
        assert_eq!((full.project.as_deref(), full.group.as_str()), (Some("shop"), "back"));
        assert_eq!(full.aliases, ["db", "db.internal"]);
        assert_eq!(full.address, Some([10, 1, 2, 3].into()));
        for bad in [
            "",
            "/a",
            "a/",
            "a/b/c",
            "-a",
            "a b",
            "a,",
            "a,alias",
            "a,alias=",
            "a,alias=localhost",
            "a,alias=a..b",
            "a,ip=1.2.3",
            "a,port=1",
            "a,alias=x.localhost",
            "a,alias=ä",
        ] {
            assert!(parse_group(bad).is_err(), "{bad}");
        }
    }
}
