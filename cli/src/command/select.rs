//! Which sandboxes a verb is about: by name, by label or filter, the latest, or all.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use monocore_orchestrator::spec::MountSource;
use monocore_orchestrator::{Home, SandboxEntry, registry};

/// Sandboxes by name, or by what they have in common.
#[derive(Clone, Debug, Default, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Selection {
    /// Name, ID, unique ID prefix, or service of the project here
    #[arg(value_name = "SANDBOX")]
    pub(super) sandboxes: Vec<String>,
    /// Take every sandbox that the verb can change
    #[arg(long)]
    pub(super) all: bool,
    /// Take the sandbox that was made last
    #[arg(short, long)]
    pub(super) latest: bool,
    /// Take those with this label
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = parse_label)]
    pub(super) label: Vec<Filter>,
    /// Take those that a filter of `ps` shows
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    pub(super) filter: Vec<Filter>,
}

impl Selection {
    /// The words to find the sandboxes by: those that were typed, then the names of those that are selected otherwise
    /// and for which `fits` holds. A sandbox that is named is taken whatever `fits` says.
    ///
    /// # Errors
    /// The sandboxes cannot be listed.
    pub(super) fn resolve(
        &self,
        home: &Home,
        fits: impl Fn(&SandboxEntry) -> bool,
    ) -> anyhow::Result<Vec<String>> {
        let mut names = self.sandboxes.clone();
        let filters: Vec<Filter> = self.label.iter().chain(&self.filter).cloned().collect();
        if !self.all && !self.latest && filters.is_empty() {
            return Ok(names);
        }
        let entries = registry::list(home)?;
        let mut found: Vec<_> = entries.iter().filter(|entry| takes(&filters, entry)).collect();
        if self.latest {
            found.drain(..found.len().saturating_sub(1));
        }
        let selected = found.into_iter().filter(|entry| fits(entry)).map(|entry| entry.name.clone());
        names.extend(selected);
        Ok(names)
    }
}

/// A property of sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Id(String),
    Name(String),
    Status(String),
    Label(String, Option<String>),
    Ancestor(String),
    Volume(String),
    Exited(u8),
    Before(String),
    Since(String),
}

/// The statuses that sandboxes have.
const STATUSES: [&str; 6] = ["created", "running", "paused", "restarting", "exited", "dead"];

/// Reads `KEY=VALUE` as Docker's `ps --filter` does.
pub(super) fn parse_filter(text: &str) -> Result<Filter, String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("invalid argument: bad format of filter (expected name=value)".to_owned());
    };
    let value = value.to_owned();
    Ok(match key {
        "id" => Filter::Id(value),
        "name" => Filter::Name(value),
        "status" if STATUSES.contains(&value.as_str()) => Filter::Status(value),
        "status" => return Err(format!("a status is one of {}", STATUSES.join(", "))),
        "label" => return parse_label(&value),
        "ancestor" => Filter::Ancestor(value),
        "volume" => Filter::Volume(value),
        "exited" => Filter::Exited(value.parse().map_err(|_| format!("{value}: not an exit code"))?),
        "before" => Filter::Before(value),
        "since" => Filter::Since(value),
        _ => {
            let known = "id, name, status, label, ancestor, volume, exited, before, since";
            return Err(format!("invalid filter '{key}': give one of {known}"));
        }
    })
}

fn parse_label(text: &str) -> Result<Filter, String> {
    Ok(match text.split_once('=') {
        Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
        None => Filter::Label(text.to_owned(), None),
    })
}

/// Whether all filters let a sandbox through. Of several with one key one is enough, but for labels, as in Docker.
pub(super) fn takes(filters: &[Filter], entry: &SandboxEntry) -> bool {
    filters.iter().all(|filter| {
        let alike = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
        match filter {
            Filter::Label(..) => filter.takes(entry),
            _ => filters.iter().filter(alike).any(|filter| filter.takes(entry)),
        }
    })
}

impl Filter {
    /// Whether it is about states, so that sandboxes that do not run are looked at, too.
    pub(super) fn is_of_state(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Exited(_))
    }

    /// Puts the time of the sandbox that `before` or `since` names in its place.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub(super) fn settle(&mut self, home: &Home) -> anyhow::Result<()> {
        if let Self::Before(name) | Self::Since(name) = self {
            *name = registry::find(home, name)?.created_ms.to_string();
        }
        Ok(())
    }

    fn takes(&self, entry: &SandboxEntry) -> bool {
        let spec = entry.kept.as_ref().map(|kept| &kept.record().spec);
        let time = |text: &str| text.parse::<u64>().map(|ms| UNIX_EPOCH + Duration::from_millis(ms)).ok();
        let made = UNIX_EPOCH + Duration::from_millis(entry.created_ms);
        match self {
            Self::Id(id) => entry.id.starts_with(id.as_str()),
            Self::Name(name) => entry.name.contains(name.trim_start_matches('/')),
            Self::Status(status) => entry.state.status.name() == status,
            Self::Label(key, value) => {
                entry.labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            Self::Ancestor(image) => {
                let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
                plain(&entry.root) == plain(image)
            }
            Self::Volume(wanted) => spec.iter().flat_map(|spec| &spec.mounts).any(|mount| {
                mount.target == *wanted
                    || match &mount.source {
                        MountSource::Volume(name) => name == wanted,
                        MountSource::Bind { path, .. } => path.as_os_str() == wanted.as_str(),
                        _ => false,
                    }
            }),
            Self::Exited(code) => {
                entry.state.status.name() == "exited" && entry.state.exit_code == Some(*code)
            }
            Self::Before(ms) => time(ms).is_some_and(|time| made < time),
            Self::Since(ms) => time(ms).is_some_and(|time| made > time),
        }
    }
}

#[cfg(test)]
mod tests {
    use monocore_orchestrator::{SandboxState, SandboxStatus};

    use super::*;

    fn entry(name: &str, label: &str, code: Option<u8>) -> SandboxEntry {
        SandboxEntry {
            id: format!("{name}00000000"),
            name: name.to_owned(),
            root: "alpine".to_owned(),
            command: Vec::new(),
            labels: [(label.to_owned(), "1".to_owned())].into(),
            created_ms: 5,
            state: SandboxState {
                status: if code.is_some() { SandboxStatus::Exited } else { SandboxStatus::Running },
                exit_code: code,
                ..SandboxState::default()
            },
            running: None,
            kept: None,
        }
    }

    #[test]
    fn filters_are_read() {
        assert_eq!(parse_filter("name=we"), Ok(Filter::Name("we".into())));
        assert_eq!(parse_filter("label=a=b"), Ok(Filter::Label("a".into(), Some("b".into()))));
        assert_eq!(parse_filter("label=a"), Ok(Filter::Label("a".into(), None)));
        for bad in ["", "name", "status=gone", "color=x", "exited=many"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_labels_are_not() {
        let takes = |texts: &[&str], entry: &SandboxEntry| {
            let filters: Vec<_> = texts.iter().map(|text| parse_filter(text).unwrap()).collect();
            super::takes(&filters, entry)
        };
        let (web, db) = (entry("web", "a", None), entry("db", "b", Some(3)));
        assert!(takes(&[], &web));
        assert!(takes(&["name=web", "name=db"], &web) && takes(&["name=web", "name=db"], &db));
        assert!(!takes(&["name=web", "status=exited"], &web));
        assert!(takes(&["label=a"], &web) && !takes(&["label=a", "label=b"], &web));
        assert!(takes(&["exited=3"], &db) && !takes(&["exited=0"], &db));
        assert!(takes(&["ancestor=alpine:latest"], &db) && !takes(&["ancestor=debian"], &db));
        assert!(takes(&["id=we"], &web) && takes(&["label=a=1"], &web) && !takes(&["label=a=2"], &web));
    }
}
