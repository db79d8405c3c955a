//! Follows files of this host and brings their changes into a project's sandboxes.
//!
//! The kernel reports changes (inotify). They are collected until none has come for a moment, so that a program that
//! writes many files causes one copy and one restart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use ignore::gitignore::Gitignore;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::sync::{self, Batch};
use super::{ProjectRunner, ServiceStep};
use crate::Error;
use crate::config::{Project, WatchAction, watch_patterns};

/// Changes are carried out when none has come for this long.
const QUIET: Duration = Duration::from_millis(100);
/// And at the latest this long after the first one.
const LONGEST: Duration = Duration::from_secs(2);

/// Paths that changed, each with the number of a rule that is about it.
type Changed = BTreeSet<(usize, PathBuf)>;

/// What arrives at a watch.
enum News {
    Changed(notify::Result<notify::Event>),
    Stop,
}

/// The files that a project's services watch.
pub struct ProjectWatch {
    runner: ProjectRunner,
    rules: Vec<Rule>,
    news: Receiver<News>,
    sender: Sender<News>,
    /// Dropped, it ends its reports.
    _watcher: RecommendedWatcher,
}

/// Ends a [`ProjectWatch`] from another thread.
#[derive(Clone, Debug)]
pub struct WatchStop(Sender<News>);

/// One rule of a service, ready for use.
pub(super) struct Rule {
    service: String,
    action: WatchAction,
    pub(super) path: PathBuf,
    pub(super) target: PathBuf,
    initial: bool,
    ignore: Gitignore,
    include: Gitignore,
}

/// What happens around a restart.
pub trait WatchObserver: Sync {
    /// The service was restarted, or could not be.
    fn restarted(&self, service: &str);
    /// A change could not be carried out.
    fn failed(&self, service: &str, error: &Error);
}

impl WatchStop {
    /// Makes [`ProjectWatch::run`] return.
    pub fn stop(&self) {
        // One that has returned hears nothing.
        let _ = self.0.send(News::Stop);
    }
}

impl Rule {
    /// Whether a change of `path` counts.
    pub(super) fn takes(&self, path: &Path, is_dir: bool) -> bool {
        let Ok(below) = path.strip_prefix(&self.path) else { return false };
        if below.as_os_str().is_empty() {
            return true;
        }
        let matches = |patterns: &Gitignore| patterns.matched_path_or_any_parents(below, is_dir).is_ignore();
        let is_of_git = below.components().any(|part| part.as_os_str() == ".git");
        !is_of_git && !matches(&self.ignore) && (is_dir || self.include.is_empty() || matches(&self.include))
    }

    /// Where `path` is in the guest.
    pub(super) fn place(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.path) {
            Ok(below) if !below.as_os_str().is_empty() => self.target.join(below),
            _ => self.target.clone(),
        }
    }
}

impl ProjectWatch {
    /// Begins to follow the files of `services`, of all when there are none. Nothing if no service watches any.
    ///
    /// # Errors
    /// A path is not there, or the kernel follows no more files for this user.
    pub fn begin(
        runner: ProjectRunner,
        project: &Project,
        services: &[String],
    ) -> Result<Option<Self>, Error> {
        let (sender, news) = mpsc::channel();
        let to = sender.clone();
        // After the end nobody listens.
        let handler = move |event| drop(to.send(News::Changed(event)));
        let mut watcher = notify::recommended_watcher(handler).map_err(watching(&project.dir))?;
        let mut rules = Vec::new();
        let mut places = BTreeSet::new();
        let chosen = project.config.services.iter();
        for service in chosen.filter(|service| services.is_empty() || services.contains(&service.name)) {
            for rule in &service.watch {
                let path = project.path(&rule.path);
                let is_dir = std::fs::metadata(&path).map_err(Error::file("watch", &path))?.is_dir();
                // A file is replaced by most editors: its directory tells of that.
                let (place, mode) = match (is_dir, path.parent()) {
                    (false, Some(parent)) => (parent.to_owned(), RecursiveMode::NonRecursive),
                    _ => (path.clone(), RecursiveMode::Recursive),
                };
                if places.insert((place.clone(), is_dir)) {
                    watcher.watch(&place, mode).map_err(watching(&place))?;
                }
                let patterns = |lines| watch_patterns(lines).unwrap_or_else(|_| Gitignore::empty());
                rules.push(Rule {
                    service: service.name.clone(),
                    action: rule.action,
                    path,
                    target: rule.target.clone().unwrap_or_default().into(),
                    initial: rule.initial_sync && rule.action.syncs(),
                    ignore: patterns(&rule.ignore),
                    include: patterns(&rule.include),
                });
            }
        }
        let watch = Self { runner, rules, news, sender, _watcher: watcher };
        Ok((!watch.rules.is_empty()).then_some(watch))
    }

    /// What ends it.
    #[must_use]
    pub fn stop(&self) -> WatchStop {
        WatchStop(self.sender.clone())
    }

    /// Carries changes out until it is stopped. What fails is told to `observer`; the watch goes on.
    pub fn run(self, observer: &dyn WatchObserver) {
        let initial = self.rules.iter().enumerate().filter(|(_, rule)| rule.initial);
        let initial: Changed = initial.map(|(index, rule)| (index, rule.path.clone())).collect();
        self.carry_out(&initial, observer);
        while let Some(changed) = self.collect() {
            self.carry_out(&changed, observer);
        }
    }

    /// Waits for a change and takes what follows it closely; nothing when the watch is stopped.
    fn collect(&self) -> Option<Changed> {
        let mut changed = Changed::new();
        while changed.is_empty() {
            match self.news.recv() {
                Ok(News::Changed(event)) => self.note(event, &mut changed),
                Ok(News::Stop) | Err(_) => return None,
            }
        }
        let latest = Instant::now() + LONGEST;
        loop {
            let left = latest.saturating_duration_since(Instant::now()).min(QUIET);
            match self.news.recv_timeout(left) {
                Ok(News::Changed(event)) => self.note(event, &mut changed),
                Err(RecvTimeoutError::Timeout) => return Some(changed),
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            }
            if Instant::now() >= latest {
                return Some(changed);
            }
        }
    }

    /// Notes the paths that `event` is about, by rule.
    fn note(&self, event: notify::Result<notify::Event>, changed: &mut Changed) {
        let rules = self.rules.iter().enumerate();
        match event {
            Ok(event) if event.need_rescan() => {
                changed.extend(rules.map(|(index, rule)| (index, rule.path.clone())));
            }
            Ok(event) if is_change(event.kind) => {
                for path in event.paths {
                    let is_dir = path.is_dir();
                    let taking = rules.clone().filter(|(_, rule)| rule.takes(&path, is_dir));
                    changed.extend(taking.map(|(index, _)| (index, path.clone())));
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("watching files: {error}"),
        }
    }

    fn carry_out(&self, changed: &Changed, observer: &dyn WatchObserver) {
        let services: BTreeSet<&str> =
            changed.iter().map(|(index, _)| self.rules[*index].service.as_str()).collect();
        for service in services {
            let mut batch = Batch::default();
            let mut restarts = false;
            for (index, path) in changed {
                let rule = &self.rules[*index];
                if rule.service == service {
                    restarts |= rule.action.restarts();
                    if rule.action.syncs() {
                        batch.add(rule, path);
                    }
                }
            }
            if let Err(error) = self.bring(service, batch, restarts, observer) {
                observer.failed(service, &error);
            }
        }
    }

    /// Copies a batch into every sandbox of a service, and restarts them if that is wanted.
    fn bring(
        &self,
        service: &str,
        batch: Batch,
        restarts: bool,
        observer: &dyn WatchObserver,
    ) -> Result<(), Error> {
        let members = self.runner.members()?;
        let members = members.iter().filter(|member| member.service == service);
        if !batch.is_empty() {
            for member in members.filter(|member| member.is_running()) {
                let files = sync::bring(&self.runner.launcher, &member.entry, &batch)?;
                self.runner.tell(service, &member.entry.name, ServiceStep::Synced { files });
            }
        }
        if restarts {
            let services = [service.to_owned()];
            let result =
                self.runner.stop(&services, None).and_then(|()| self.runner.start_members(&services));
            observer.restarted(service);
            result?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for ProjectWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectWatch").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// Whether something was written, made, renamed or removed. Reading is no change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        EventKind::Any | EventKind::Other => false,
    }
}

fn watching(path: &Path) -> impl FnOnce(notify::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Watch { path, problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, load_text};
    use crate::{Home, Images, Launcher};

    fn watch(dir: &Path, rules: &str) -> ProjectWatch {
        let text = format!("{{\"service\": {{\"web\": {{\"base\": \"x\", \"watch\": {rules}}}}}}}");
        let options = LoadOptions {
            project_dir: Some(dir.to_owned()),
            project_name: Some("shop".into()),
            ..LoadOptions::default()
        };
        let project = load_text(&text, &options).unwrap();
        let home = Home::at(dir.join("home"));
        let images = Images::new(&home);
        let runner = ProjectRunner::new(Launcher { home, program: "/nonexistent".into() }, images, "shop");
        ProjectWatch::begin(runner, &project, &[]).unwrap().unwrap()
    }

    /// Collects until the names below `dir` that changed are these.
    fn until(watch: &ProjectWatch, dir: &Path, wanted: &[&str]) {
        let mut seen = BTreeSet::new();
        while !wanted.iter().all(|name| seen.contains(&dir.join(name))) {
            let changed = watch.collect().unwrap();
            seen.extend(changed.into_iter().map(|(_, path)| path));
            let known = |path: &PathBuf| wanted.iter().any(|name| dir.join(name) == *path);
            assert!(seen.iter().all(known), "{seen:?} has more than {wanted:?}");
        }
    }

    #[test]
    fn the_kernel_reports_what_is_written_made_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir_all(dir.join("src/deep")).unwrap();
        std::fs::write(dir.join("one"), "").unwrap();
        let rules = r#"[{"path": "src", "target": "/app", "ignore": ["*.log", "cache/"]},
                        {"path": "one", "target": "/one"}]"#;
        let watch = watch(dir, rules);
        // What does not count comes first, so that it would be seen with what does.
        std::fs::create_dir(dir.join("src/cache")).unwrap();
        for name in ["src/a.log", "src/cache/x", "other", "src/deep/file"] {
            std::fs::write(dir.join(name), "1").unwrap();
        }
        until(&watch, dir, &["src/deep/file"]);
        std::fs::rename(dir.join("src/deep/file"), dir.join("src/new")).unwrap();
        until(&watch, dir, &["src/deep/file", "src/new"]);
        std::fs::remove_file(dir.join("src/new")).unwrap();
        until(&watch, dir, &["src/new"]);
        // As editors save: another file takes the name.
        std::fs::write(dir.join("one.tmp"), "2").unwrap();
        std::fs::rename(dir.join("one.tmp"), dir.join("one")).unwrap();
        until(&watch, dir, &["one"]);
        watch.stop().stop();
        assert!(watch.collect().is_none());
    }

    #[test]
    fn places_and_patterns_are_those_of_the_rule() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir(dir.join("src")).unwrap();
        let rules =
            r#"[{"path": "src", "target": "/app", "ignore": ["node_modules/"], "include": ["*.js"]}]"#;
        let watch = watch(dir, rules);
        let rule = &watch.rules[0];
        let src = dir.join("src");
        assert_eq!(rule.place(&src.join("a/b.js")), Path::new("/app/a/b.js"));
        assert_eq!(rule.place(&src), Path::new("/app"));
        for (name, is_dir, taken) in [
            ("a.js", false, true),
            ("deep/a.js", false, true),
            ("deep", true, true),
            ("a.css", false, false),
            ("node_modules", true, false),
            ("node_modules/x.js", false, false),
            (".git/index.js", false, false),
        ] {
            assert_eq!(rule.takes(&src.join(name), is_dir), taken, "{name}");
        }
        assert!(!rule.takes(&dir.join("srcs"), false));
        std::fs::create_dir_all(src.join("new/node_modules")).unwrap();
        for name in ["new/a.js", "new/a.css", "new/node_modules/b.js"] {
            std::fs::write(src.join(name), "").unwrap();
        }
        let mut batch = Batch::default();
        batch.add(rule, &src.join("new"));
        batch.add(rule, &src.join("gone.js"));
        assert_eq!(batch.places(), ["/app/new", "/app/new/a.js"].map(Path::new));
        assert!(!batch.is_empty());
    }
}
