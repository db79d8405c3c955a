//! All sandboxes of a state directory: those that run and those that are kept.
//!
//! A sandbox runs while somebody holds the lock on its record below `run/`; it is kept when it has a directory below
//! `sandboxes/`. Whatever changes which sandboxes there are, or who has a name, happens under one lock
//! (`run/.lock`). Looking at one sandbox by name or id takes no lock and costs the same however many there are.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::Path;

use crate::control::tell_gone;
use crate::home::make_private_dir;
use crate::id::SandboxId;
use crate::kept::{self, KeptRecord, KeptSandbox, NewSandbox, SandboxState, SandboxStatus};
use crate::run_dir::{self, Record};
use crate::spec::{GroupMembership, RestartPolicy};
use crate::supervisor::PAUSED;
use crate::{ControlClient, Error, HealthReport, Home, events, groups, names, state};

/// The exit code of a sandbox whose supervisor was killed: 128 and SIGKILL's number.
const KILLED: u8 = 137;

/// A sandbox as listings show it.
#[derive(Clone, Debug)]
pub struct SandboxEntry {
    /// The identity.
    pub id: String,
    /// The name.
    pub name: String,
    /// The image as the user wrote it, or the root directory.
    pub root: String,
    /// The command line.
    pub command: Vec<String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// How it is.
    pub state: SandboxState,
    /// Its record below `run/`; there while it runs.
    pub running: Option<Record>,
    /// Its directory; there if it is kept.
    pub kept: Option<KeptSandbox>,
}

/// All sandboxes, oldest first. What killed processes left behind is removed or put right before.
///
/// # Errors
/// A directory cannot be read.
pub fn list(home: &Home) -> Result<Vec<SandboxEntry>, Error> {
    let _alone = lock(home)?;
    list_locked(home)
}

/// The same for a caller that is alone with the directories.
pub(crate) fn list_locked(home: &Home) -> Result<Vec<SandboxEntry>, Error> {
    let running = run_dir::reconcile(home)?;
    let mut entries = Vec::new();
    for id in ids(&home.sandboxes())? {
        let dir = home.sandboxes().join(id.as_str());
        if !kept::is_whole(&dir) {
            // Half made or half removed by a process that was killed.
            std::fs::remove_dir_all(&dir).map_err(Error::file("remove", &dir))?;
        } else if let Some(entry) = entry(home, &id)? {
            correct(&entry)?;
            // Its supervisor may be writing.
            if entry.running.is_none() {
                state::sweep(&dir);
            }
            entries.push(entry);
        }
    }
    let others = running.into_iter().filter(|record| !entries.iter().any(|entry| entry.id == record.id));
    let others: Vec<_> = others.map(|record| ephemeral(home, record)).collect();
    entries.extend(others);
    names::sweep(home, |name, id| entries.iter().any(|entry| entry.name == name && entry.id == id));
    groups::sweep(home);
    [home.groups(), home.volumes()].iter().for_each(|dir| state::sweep(dir));
    entries.sort_by_key(|entry| entry.created_ms);
    Ok(entries.into_iter().map(truthful).collect())
}

/// The sandbox with this name, this id, or the only id that begins so.
///
/// # Errors
/// There is none, or there are several.
pub fn find(home: &Home, wanted: &str) -> Result<SandboxEntry, Error> {
    for id in names::look_up(home, wanted).into_iter().chain(SandboxId::parse(wanted)) {
        if let Some(entry) = entry(home, &id)?
            && (entry.name == wanted || entry.id == wanted)
            && !is_outdated(&entry)
        {
            return Ok(entry);
        }
    }
    let all = list(home)?;
    if let Some(exact) = all.iter().find(|entry| entry.name == wanted || entry.id == wanted) {
        return Ok(exact.clone());
    }
    let mut similar = all.into_iter().filter(|entry| !wanted.is_empty() && entry.id.starts_with(wanted));
    match (similar.next(), similar.next()) {
        (Some(entry), None) => Ok(entry),
        (Some(_), Some(_)) => Err(Error::Ambiguous(wanted.to_owned())),
        (None, _) => Err(Error::NoSandbox(wanted.to_owned())),
    }
}

/// The record of the running sandbox with this name, this id, or the only id that begins so.
///
/// # Errors
/// There is none, there are several, or it does not run.
pub fn running(home: &Home, wanted: &str) -> Result<Record, Error> {
    let entry = find(home, wanted)?;
    entry.running.ok_or(Error::NotRunning(entry.name))
}

/// Writes a new sandbox down, under its name or one that is made up.
///
/// # Errors
/// The name is taken, or the records cannot be written.
pub(crate) fn create(home: &Home, made: NewSandbox) -> Result<KeptSandbox, Error> {
    if made.auto_remove && made.spec.restart != RestartPolicy::No {
        return Err(Error::RemovedAndRestarted);
    }
    let _alone = lock(home)?;
    let (id, name) = new_identity(home, made.spec.name.as_deref())?;
    // A name whose sandbox is not there counts as free, so it may come first.
    names::assign(home, &name, &id)?;
    let kept = KeptSandbox::write(home, KeptRecord::new(&id, name, made))?;
    events::note(home, &(&kept).into(), "create", &[]);
    Ok(kept)
}

/// Removes a kept sandbox that does not run, with its disk and logs.
///
/// # Errors
/// The sandbox runs, or something of it cannot be removed.
pub fn remove(home: &Home, kept: &KeptSandbox) -> Result<(), Error> {
    let run_dir = home.run().join(&kept.record().id);
    if kept.state().is_ok_and(|state| state.status == SandboxStatus::Exited)
        && let Some(record) = run_dir::held_record(&run_dir)
    {
        // Its command has ended, and its supervisor is about to. If that is gone already, so much the better.
        let _ = ControlClient::connect(home, &record).and_then(|client| client.wait());
    }
    let _alone = lock(home)?;
    // It may have another name by now.
    let name = open_kept(home, &kept.record().id)
        .map_or_else(|_| kept.record().name.clone(), |kept| kept.record().name.clone());
    let record = kept.record();
    if run_dir::is_held(&home.run().join(&record.id)) {
        return Err(Error::StillRunning(name));
    }
    kept.remove()?;
    let joined = record.spec.network.groups.iter();
    let joined = joined.map(|group| (group.project.as_deref(), group.group.as_str()));
    groups::leave(home, &record.id, joined)?;
    events::note(home, &kept.into(), "destroy", &[]);
    release_name(home, &name, &record.id)
}

/// Gives a kept sandbox another name; it may run meanwhile.
///
/// # Errors
/// The name is taken, or the records cannot be written.
pub fn rename(home: &Home, kept: &KeptSandbox, name: &str) -> Result<(), Error> {
    let _alone = lock(home)?;
    let id = SandboxId::parse(&kept.record().id).ok_or_else(|| Error::NoSandbox(kept.record().id.clone()))?;
    let mut kept = KeptSandbox::open(home, &id)?;
    let old = kept.record().name.clone();
    if let Some(owner) = name_owner(home, name)? {
        return Err(Error::NameInUse { name: name.to_owned(), id: owner });
    }
    // A link to a sandbox of another name counts as free, so a crash in between leaves the old name or the new one.
    names::assign(home, name, &id)?;
    kept.rewrite(KeptRecord { name: name.to_owned(), ..kept.record().clone() })?;
    events::note(home, &(&kept).into(), "rename", &[("oldName", &old)]);
    release_name(home, &old, id.as_str())
}

/// Changes the description of a kept sandbox; a machine that runs stays as it is until its next start.
///
/// # Errors
/// The record cannot be read or written.
pub fn update(
    home: &Home,
    kept: &KeptSandbox,
    change: impl FnOnce(&mut crate::spec::SandboxSpec),
) -> Result<(), Error> {
    let _alone = lock(home)?;
    let mut kept = open_kept(home, &kept.record().id)?;
    let mut record = kept.record().clone();
    change(&mut record.spec);
    kept.rewrite(record)
}

/// Makes a kept sandbox a member of a group: at once if it runs, else from its next start on.
///
/// # Errors
/// The group is full, the address is taken, the machine takes no groups, or a record cannot be written.
pub fn join_group(home: &Home, kept: &KeptSandbox, membership: GroupMembership) -> Result<(), Error> {
    let KeptRecord { id, name, .. } = kept.record();
    if let Some(running) = run_dir::held_record(&home.run().join(id)) {
        let joined = {
            let _alone = lock(home)?;
            groups::join(home, (id, name), std::slice::from_ref(&membership))?
        };
        for group in joined {
            let client = ControlClient::connect(home, &running)?;
            if let Err(error) = client.join_group(group) {
                // The address is free only once the machine does not have it.
                leave_group(home, kept, membership.project.as_deref(), &membership.group)?;
                return Err(error);
            }
        }
    }
    update(home, kept, |spec| spec.network.groups.push(membership))
}

/// Takes a kept sandbox, running or not, out of a group; its address is free from here on.
///
/// # Errors
/// The machine does not answer, or a record cannot be read or written.
pub fn leave_group(home: &Home, kept: &KeptSandbox, project: Option<&str>, group: &str) -> Result<(), Error> {
    if let Some(running) = run_dir::held_record(&home.run().join(&kept.record().id)) {
        ControlClient::connect(home, &running)?.leave_group(project, group)?;
    }
    let _alone = lock(home)?;
    let mut kept = open_kept(home, &kept.record().id)?;
    let mut record = kept.record().clone();
    let is_it =
        |member: &GroupMembership| (member.project.as_deref(), member.group.as_str()) == (project, group);
    record.spec.network.groups.retain(|member| !is_it(member));
    kept.rewrite(record)?;
    let left = groups::leave_one(home, &kept.record().id, project, group)?;
    // A machine that was taken over may have kept its ends of links.
    for (member, link) in left {
        if let Err(error) = tell_gone(&home.run().join(&member), link) {
            tracing::debug!(%error, member, "a member is not told who has left");
        }
    }
    Ok(())
}

/// The kept sandbox with this id, written out in full.
///
/// # Errors
/// There is none, or its record cannot be read.
pub fn open_kept(home: &Home, id: &str) -> Result<KeptSandbox, Error> {
    let id = SandboxId::parse(id).ok_or_else(|| Error::NoSandbox(id.to_owned()))?;
    KeptSandbox::open(home, &id)
}

/// The kept sandboxes that do not run and start with the machine: those whose policy is `always`, and
/// those whose policy is `unless-stopped` and that nobody stopped. One that never ran is not among them.
///
/// # Errors
/// A directory cannot be read.
pub fn restartable(home: &Home) -> Result<Vec<KeptSandbox>, Error> {
    let is_wanted = |entry: &SandboxEntry| {
        let policy = entry.kept.as_ref().map(|kept| kept.record().spec.restart);
        let has_run = entry.state.status == SandboxStatus::Exited && entry.state.started_ms.is_some();
        has_run
            && match policy {
                Some(RestartPolicy::Always) => true,
                Some(RestartPolicy::UnlessStopped) => !entry.state.is_stopped,
                _ => false,
            }
    };
    Ok(list(home)?.into_iter().filter(is_wanted).filter_map(|entry| entry.kept).collect())
}

/// An id that nobody has, and the name asked for or one that is made up.
pub(crate) fn new_identity(home: &Home, name: Option<&str>) -> Result<(SandboxId, String), Error> {
    if let Some(name) = name
        && let Some(id) = name_owner(home, name)?
    {
        return Err(Error::NameInUse { name: name.to_owned(), id });
    }
    loop {
        let (id, made_up) = SandboxId::generate()?;
        let name = name.map_or(made_up, str::to_owned);
        let name_is_free = names::look_up(home, &name).is_none_or(|owner| {
            // A link whose sandbox is gone counts as free.
            !matches!(entry(home, &owner), Ok(Some(entry)) if entry.name == name)
        });
        let id_is_free =
            !home.sandboxes().join(id.as_str()).exists() && !home.run().join(id.as_str()).exists();
        if name_is_free && id_is_free {
            return Ok((id, name));
        }
    }
}

/// The id of the sandbox that has this name.
fn name_owner(home: &Home, name: &str) -> Result<Option<String>, Error> {
    let Some(id) = names::look_up(home, name) else { return Ok(None) };
    Ok(entry(home, &id)?.filter(|entry| entry.name == name).map(|entry| entry.id))
}

/// Frees `name` if it still leads to `id`.
pub(crate) fn release_name(home: &Home, name: &str, id: &str) -> Result<(), Error> {
    match names::look_up(home, name) {
        Some(owner) if owner.as_str() == id => names::release(home, name),
        _ => Ok(()),
    }
}

/// Whoever holds the returned file is alone with the directories.
pub(crate) fn lock(home: &Home) -> Result<File, Error> {
    let run = home.run();
    let path = run.join(".lock");
    let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_private_dir(&run)?;
            open()
        }
        other => other,
    };
    let file = file.map_err(Error::file("open", &path))?;
    file.lock().map_err(Error::file("lock", &path))?;
    Ok(file)
}

/// The sandbox with this id, if it runs or is kept.
fn entry(home: &Home, id: &SandboxId) -> Result<Option<SandboxEntry>, Error> {
    let dir = home.run().join(id.as_str());
    let running = run_dir::held_record(&dir);
    let health = running.as_ref().and_then(|_| HealthReport::read(&dir));
    let kept = match KeptSandbox::open(home, id) {
        Err(Error::NoSandbox(_)) => return Ok(running.map(|record| ephemeral(home, record))),
        other => other?,
    };
    let record = kept.record();
    let mut state = kept.state()?;
    if health.is_some() {
        state.health = health;
    }
    if state.status == SandboxStatus::Running && running.is_some() {
        state.status = status(home, &record.id);
    }
    Ok(Some(SandboxEntry {
        id: record.id.clone(),
        name: record.name.clone(),
        root: record.root.clone(),
        command: record.command.clone(),
        labels: record.spec.labels.clone(),
        created_ms: record.created_ms,
        state,
        // It may have been renamed while it runs.
        running: running.map(|running| Record { name: record.name.clone(), ..running }),
        kept: Some(kept),
    }))
}

/// Whether a sandbox that runs is paused.
fn status(home: &Home, id: &str) -> SandboxStatus {
    if home.run().join(id).join(PAUSED).exists() { SandboxStatus::Paused } else { SandboxStatus::Running }
}

fn ephemeral(home: &Home, record: Record) -> SandboxEntry {
    SandboxEntry {
        id: record.id.clone(),
        name: record.name.clone(),
        root: record.root.clone(),
        command: record.command.clone(),
        labels: record.labels.clone(),
        created_ms: record.created_ms(),
        state: SandboxState {
            status: status(home, &record.id),
            started_ms: Some(record.created_ms()),
            pid: Some(record.pid),
            health: HealthReport::read(&home.run().join(&record.id)),
            ..SandboxState::default()
        },
        running: Some(record),
        kept: None,
    }
}

/// The state says that the sandbox runs, and nobody supervises it.
fn is_outdated(entry: &SandboxEntry) -> bool {
    matches!(entry.state.status, SandboxStatus::Running | SandboxStatus::Restarting)
        && entry.running.is_none()
}

/// What is true of a sandbox whose supervisor was killed.
fn truthful(mut entry: SandboxEntry) -> SandboxEntry {
    if is_outdated(&entry) {
        entry.state = SandboxState {
            status: SandboxStatus::Exited,
            exit_code: Some(KILLED),
            error: Some("its supervisor was killed".to_owned()),
            finished_ms: Some(kept::now_ms()),
            pid: None,
            ..entry.state
        };
    }
    entry
}

/// Writes down what is true where the state says something else.
fn correct(entry: &SandboxEntry) -> Result<(), Error> {
    match &entry.kept {
        Some(kept) if is_outdated(entry) => kept.write_state(&truthful(entry.clone()).state),
        _ => Ok(()),
    }
}

fn ids(dir: &Path) -> Result<Vec<SandboxId>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("read", dir))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| SandboxId::parse(&name)).collect())
}

#[cfg(test)]
mod tests;
