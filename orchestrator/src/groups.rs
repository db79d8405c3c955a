//! `groups/`: groups of sandboxes that reach each other, one record each.
//!
//! A group has a subnet, the next free /24 of 10.0.0.0/8, and an address for each member, which stays the member's until the
//! sandbox is removed. Records are written whole, under the registry's lock. A member whose sandbox is gone counts as gone,
//! also where nobody has crossed it out yet.

mod subnet;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use monocore_spec::{Cidr, GroupAddress};
use serde::{Deserialize, Serialize};

use crate::control::PeerLink;
use crate::spec::{GroupMembership, parse_alias};
use crate::{Error, Home, kept, registry, run_dir, state};

const RECORD_VERSION: u32 = 1;
/// The largest record read, bytes.
const MAX_RECORD: u64 = 1 << 20;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRecord {
    /// The version of this record.
    pub version: u32,
    /// The project that the group is of.
    pub project: Option<String>,
    /// The group's name, unique in its project.
    pub name: String,
    /// The addresses of its members; the first and the last one are nobody's.
    pub subnet: Cidr,
    /// The group stays when its last member is removed.
    pub kept: bool,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// The members, in the order in which they joined.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMember {
    /// The sandbox's identity.
    pub id: String,
    /// The sandbox's name.
    pub name: String,
    /// The address in the group's subnet.
    pub address: Ipv4Addr,
    /// Further names in the group.
    pub aliases: Vec<String>,
}

/// A sandbox's place in a group, as its run record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinedGroup {
    /// The project that the group is of.
    pub project: Option<String>,
    /// The group's name.
    pub group: String,
    /// The sandbox's address in it.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, bits.
    pub prefix: u8,
    /// Names by which this sandbox alone reaches others of the group: from name to name.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

impl JoinedGroup {
    /// The address, as a machine's description has it.
    pub(crate) fn address(&self) -> GroupAddress {
        GroupAddress { address: self.address, prefix: self.prefix }
    }
}

/// What a new group is to be.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// The project that the group is of.
    pub project: Option<String>,
    /// Its name.
    pub name: String,
    /// Its subnet, a /24 or smaller; the next free one when there is none.
    pub subnet: Option<Cidr>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

impl GroupRecord {
    /// `PROJECT/NAME`, or `NAME` without a project.
    #[must_use]
    pub fn full_name(&self) -> String {
        full_name(self.project.as_deref(), &self.name)
    }

    /// The members that `name` (in lower case) stands for.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a GroupMember> {
        let of_group = name.strip_suffix(self.name.to_ascii_lowercase().as_str());
        let of_group = of_group.and_then(|name| name.strip_suffix('.'));
        self.members.iter().filter(move |member| {
            [Some(name), of_group].into_iter().flatten().any(|name| member.has_name(name))
        })
    }

    /// An address that no member has.
    fn free_address(&self) -> Option<Ipv4Addr> {
        subnet::hosts(self.subnet)
            .find(|address| self.members.iter().all(|member| member.address != *address))
    }
}

impl GroupMember {
    fn has_name(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.id == name
            || self.aliases.iter().any(|alias| alias == name)
    }
}

/// All groups, by project and name, with the members that there are.
///
/// # Errors
/// A record cannot be read.
pub fn list(home: &Home) -> Result<Vec<GroupRecord>, Error> {
    let _alone = registry::lock(home)?;
    let mut groups = read_all(home)?;
    for group in &mut groups {
        group.members.retain(|member| exists(home, &member.id));
    }
    groups.retain(|group| group.kept || !group.members.is_empty());
    Ok(groups)
}

/// The group `name` of `project`.
///
/// # Errors
/// [`Error::NoGroup`], or its record cannot be read.
pub fn find(home: &Home, project: Option<&str>, name: &str) -> Result<GroupRecord, Error> {
    let no_group = || Error::NoGroup(full_name(project, name));
    let mut group = read(home, project, name)?.ok_or_else(no_group)?;
    group.members.retain(|member| exists(home, &member.id));
    if group.kept || !group.members.is_empty() { Ok(group) } else { Err(no_group()) }
}

/// Makes a group that stays without members.
///
/// # Errors
/// There is one already, no subnet is free, or the record cannot be written.
pub fn create(home: &Home, new: NewGroup) -> Result<GroupRecord, Error> {
    let _alone = registry::lock(home)?;
    let name = full_name(new.project.as_deref(), &new.name);
    if read(home, new.project.as_deref(), &new.name)?.is_some_and(|group| group.kept) {
        return Err(problem(&name, "it exists already"));
    }
    let mut group = read(home, new.project.as_deref(), &new.name)?.map_or_else(|| made(home, &new), Ok)?;
    if new.subnet.is_some_and(|subnet| subnet != group.subnet) {
        return Err(problem(&name, "it exists already, with another subnet"));
    }
    (group.kept, group.labels) = (true, new.labels);
    write(home, &group)?;
    Ok(group)
}

/// Removes a group of which no member runs. Members that are kept join it anew when they start.
///
/// # Errors
/// There is none, members run, or the record cannot be removed.
pub fn remove(home: &Home, project: Option<&str>, name: &str) -> Result<(), Error> {
    let _alone = registry::lock(home)?;
    let group = find(home, project, name)?;
    let running: Vec<_> = group.members.iter().filter(|member| runs(home, &member.id)).collect();
    if let [first, ..] = running[..] {
        return Err(problem(
            &group.full_name(),
            &format!("sandbox {} is running: stop it first", first.name),
        ));
    }
    erase(home, project, name)
}

/// Removes the groups that have no members; gives back their names.
///
/// # Errors
/// A record cannot be read or removed.
pub fn prune(home: &Home) -> Result<Vec<String>, Error> {
    let _alone = registry::lock(home)?;
    let mut removed = Vec::new();
    for group in read_all(home)? {
        if !group.members.iter().any(|member| exists(home, &member.id)) {
            erase(home, group.project.as_deref(), &group.name)?;
            removed.push(group.full_name());
        }
    }
    Ok(removed)
}

/// Removes the groups that nobody made by name and whose members are all gone: a process was killed before the last one left
/// its group. The caller holds the registry's lock.
pub(crate) fn sweep(home: &Home) {
    let left = |group: &GroupRecord| group.members.iter().any(|member| exists(home, &member.id));
    let groups = read_all(home).unwrap_or_default();
    for group in groups.iter().filter(|group| !group.kept && !left(group)) {
        if let Err(error) = erase(home, group.project.as_deref(), &group.name) {
            tracing::warn!(%error, "a group without members stays");
        }
    }
}

/// Makes the sandbox a member of each group of `wanted`; groups that there are not are made. Who is a member keeps the address.
/// The caller holds the registry's lock.
///
/// # Errors
/// A group is full, an address is taken, or a record cannot be written.
pub(crate) fn join(
    home: &Home,
    (id, name): (&str, &str),
    wanted: &[GroupMembership],
) -> Result<Vec<JoinedGroup>, Error> {
    wanted.iter().map(|membership| join_one(home, (id, name), membership)).collect()
}

fn join_one(home: &Home, (id, name): (&str, &str), wanted: &GroupMembership) -> Result<JoinedGroup, Error> {
    let full = full_name(wanted.project.as_deref(), &wanted.group);
    let found = read(home, wanted.project.as_deref(), &wanted.group)?;
    let mut group = match found {
        Some(group) => group,
        None => {
            let (project, name) = (wanted.project.clone(), wanted.group.clone());
            made(home, &NewGroup { project, name, ..NewGroup::default() })?
        }
    };
    group.members.retain(|member| member.id == id || exists(home, &member.id));
    let known = group.members.iter().position(|member| member.id == id);
    let before = known.map(|index| group.members.remove(index));
    let address = match (wanted.address, before) {
        (Some(address), _) => {
            if !subnet::hosts(group.subnet).any(|host| host == address) {
                return Err(problem(&full, &format!("address {address} is not one of {}", group.subnet)));
            }
            if let Some(other) = group.members.iter().find(|member| member.address == address) {
                return Err(problem(&full, &format!("address {address} is sandbox {}'s", other.name)));
            }
            address
        }
        (None, Some(before)) => before.address,
        (None, None) => group.free_address().ok_or_else(|| problem(&full, "every address is taken"))?,
    };
    let alias = |alias: &String| parse_alias(alias).map_err(|error| problem(&full, &error.to_string()));
    let aliases = wanted.aliases.iter().map(alias).collect::<Result<_, _>>()?;
    group.members.push(GroupMember { id: id.to_owned(), name: name.to_owned(), address, aliases });
    write(home, &group)?;
    let links = wanted.links.clone();
    Ok(JoinedGroup { project: group.project, group: group.name, address, prefix: group.subnet.prefix, links })
}

/// Takes the sandbox `id` out of the groups `joined`. The caller holds the registry's lock.
///
/// # Errors
/// A record cannot be written.
pub(crate) fn leave<'a>(
    home: &Home,
    id: &str,
    joined: impl IntoIterator<Item = (Option<&'a str>, &'a str)>,
) -> Result<(), Error> {
    for (project, name) in joined {
        let Some(mut group) = read(home, project, name)? else { continue };
        group.members.retain(|member| member.id != id && exists(home, &member.id));
        if group.members.is_empty() && !group.kept {
            erase(home, project, name)?;
        } else {
            write(home, &group)?;
        }
    }
    Ok(())
}

/// Takes the sandbox `id` out of a group; the running members that stay, each with what it is to be told. The caller holds
/// the registry's lock.
///
/// # Errors
/// The record cannot be read or written.
pub(crate) fn leave_one(
    home: &Home,
    id: &str,
    project: Option<&str>,
    name: &str,
) -> Result<Vec<(String, PeerLink)>, Error> {
    let members = read(home, project, name)?.map(|group| group.members).unwrap_or_default();
    leave(home, id, [(project, name)])?;
    let Some(left) = members.iter().find(|member| member.id == id).map(|member| member.address) else {
        return Ok(Vec::new());
    };
    let stay = members.into_iter().filter(|member| member.id != id && runs(home, &member.id));
    let link =
        |own| PeerLink { project: project.map(str::to_owned), group: name.to_owned(), own, peer: left };
    Ok(stay.map(|member| (member.id, link(member.address))).collect())
}

/// The addresses in `joined` that `name` stands for, of members that run; nothing where no member has the name.
pub(crate) fn resolve(home: &Home, joined: &[JoinedGroup], name: &str) -> Option<Vec<Ipv4Addr>> {
    let mut found = None;
    for membership in joined {
        let Some(group) = look_at(home, membership) else { continue };
        let name = membership.links.get(name).map_or(name, String::as_str);
        for member in group.named(name) {
            let addresses: &mut Vec<_> = found.get_or_insert_default();
            if runs(home, &member.id) {
                addresses.push(member.address);
            }
        }
    }
    found
}

/// The member of the group `joined` that has `address` and runs.
pub(crate) fn running_member(home: &Home, joined: &JoinedGroup, address: Ipv4Addr) -> Option<GroupMember> {
    let members = look_at(home, joined)?.members;
    members.into_iter().find(|member| member.address == address && runs(home, &member.id))
}

fn look_at(home: &Home, joined: &JoinedGroup) -> Option<GroupRecord> {
    read(home, joined.project.as_deref(), &joined.group).unwrap_or_else(|error| {
        tracing::warn!(%error, "a group cannot be looked at");
        None
    })
}

fn made(home: &Home, new: &NewGroup) -> Result<GroupRecord, Error> {
    let full = full_name(new.project.as_deref(), &new.name);
    let taken: Vec<Cidr> = read_all(home)?.into_iter().map(|group| group.subnet).collect();
    let subnet = match new.subnet {
        Some(subnet) if !subnet::is_usable(subnet) => {
            return Err(problem(&full, "its subnet must be a network of IPv4 with 16 to 29 bits"));
        }
        Some(subnet) => match taken.iter().find(|other| subnet::overlap(**other, subnet)) {
            Some(other) => return Err(problem(&full, &format!("subnet {other} is another group's"))),
            None => subnet,
        },
        None => subnet::free(&taken).ok_or_else(|| problem(&full, "no subnet of 10.0.0.0/8 is free"))?,
    };
    Ok(GroupRecord {
        version: RECORD_VERSION,
        project: new.project.clone(),
        name: new.name.clone(),
        subnet,
        kept: false,
        labels: BTreeMap::new(),
        created_ms: kept::now_ms(),
        members: Vec::new(),
    })
}

/// Whether the sandbox runs or is kept.
fn exists(home: &Home, id: &str) -> bool {
    kept::is_whole(&home.sandboxes().join(id)) || runs(home, id)
}

fn runs(home: &Home, id: &str) -> bool {
    run_dir::is_held(&home.run().join(id))
}

fn full_name(project: Option<&str>, name: &str) -> String {
    project.map_or_else(|| name.to_owned(), |project| format!("{project}/{name}"))
}

fn problem(name: &str, problem: &str) -> Error {
    Error::Group { name: name.to_owned(), problem: problem.to_owned() }
}

/// Names have neither `@` nor `/`.
fn path(home: &Home, project: Option<&str>, name: &str) -> PathBuf {
    home.groups().join(format!("{}@{name}.json", project.unwrap_or("")))
}

fn read_all(home: &Home) -> Result<Vec<GroupRecord>, Error> {
    let dir = home.groups();
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("read", &dir))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut groups = Vec::new();
    for name in names {
        let Some((project, name)) = name.strip_suffix(".json").and_then(|name| name.split_once('@')) else {
            continue;
        };
        groups.extend(read(home, Some(project).filter(|project| !project.is_empty()), name)?);
    }
    groups.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
    Ok(groups)
}

fn read(home: &Home, project: Option<&str>, name: &str) -> Result<Option<GroupRecord>, Error> {
    let path = path(home, project, name);
    let text = match state::read_bounded(&path, MAX_RECORD) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("read", &path))?,
    };
    let problem = |problem: String| Error::Record { path: path.clone(), problem };
    let group: GroupRecord = serde_json::from_slice(&text).map_err(|error| problem(error.to_string()))?;
    if group.version != RECORD_VERSION || !matches!(group.subnet.address, IpAddr::V4(_)) {
        return Err(problem("it was written by another version of monocore".to_owned()));
    }
    Ok(Some(group))
}

fn write(home: &Home, group: &GroupRecord) -> Result<(), Error> {
    let path = path(home, group.project.as_deref(), &group.name);
    let text = serde_json::to_vec_pretty(group)
        .map_err(|error| Error::Record { path: path.clone(), problem: error.to_string() })?;
    state::write_whole(&path, &text)
}

fn erase(home: &Home, project: Option<&str>, name: &str) -> Result<(), Error> {
    let path = path(home, project, name);
    std::fs::remove_file(&path).map_err(Error::file("remove", &path))
}

#[cfg(test)]
mod tests;
