//! `up` without `-d`: the output of every sandbox until all have ended, or until Ctrl-C stops them.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use monocore_orchestrator::session::{SignalKind, Signals};
use monocore_orchestrator::{
    Home, Instance, LogReader, Member, ProjectRunner, ProjectWatch, UpOptions, WatchStop, registry,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::lines::{Lines, Output, Source};
use super::restarts::Restarts;

/// Brings the project up, shows the output of its sandboxes, and stops them on a signal; a second one kills.
///
/// # Errors
/// As [`ProjectRunner::up`]; or the output cannot be read or written.
pub(super) fn up(
    runner: &ProjectRunner,
    wanted: &[Instance],
    options: &UpOptions,
    signals: &Signals,
    watch: Option<ProjectWatch>,
    lines: &Lines,
) -> anyhow::Result<u8> {
    let began = SystemTime::now();
    let members = interruptible(runner, signals, None, || runner.up(wanted, options))?;
    // Output of the services comes next.
    lines.settle();
    let (members, mut interrupted) = match members {
        (Ok(members), interrupted) => (members, interrupted),
        (Err(_), true) => return Ok(INTERRUPTED),
        (Err(error), false) => return Err(error.into()),
    };
    let is_chosen =
        |member: &Member| options.services.is_empty() || options.services.contains(&member.service);
    let members: Vec<_> = members.into_iter().filter(is_chosen).collect();
    let home = Home::locate()?;
    let output = Output::new(members.iter().map(|member| member.entry.name.as_str()), false, false);
    let restarts = Restarts::default();
    let stop = watch.as_ref().map(ProjectWatch::stop);
    let is_watched = watch.is_some();
    let shown = interruptible(runner, signals, stop, || {
        std::thread::scope(|scope| {
            for (index, member) in members.iter().enumerate() {
                let source = output.source(&member.entry.name, index, None);
                let (home, restarts) = (&home, is_watched.then_some(&restarts));
                scope.spawn(move || show(home, member, began, source, restarts));
            }
            if let Some(watch) = watch {
                watch.run(&restarts);
                restarts.end();
            }
        });
    })?;
    interrupted |= shown.1;
    Ok(if interrupted { INTERRUPTED } else { 0 })
}

/// The status after Ctrl-C: 128 and SIGINT's number.
const INTERRUPTED: u8 = 130;

/// Shows the output of one sandbox to its end, and again after each restart.
fn show(
    home: &Home,
    member: &Member,
    began: SystemTime,
    mut source: Source<'_>,
    restarts: Option<&Restarts>,
) -> anyhow::Result<()> {
    let Some(kept) = &member.entry.kept else { return Ok(()) };
    // Of what ran before, only what is new.
    let since = member.entry.state.started_ms.map_or(began, |at| UNIX_EPOCH + Duration::from_millis(at));
    let mut since = since.max(began);
    loop {
        let restarted = restarts.map_or(0, |restarts| restarts.count(&member.service));
        let mut reader = LogReader::open(home, kept, true)?;
        let mut last = None;
        while let Some(entry) = reader.next_entry().context("reading the log")? {
            if entry.time < since {
                continue;
            }
            last = Some(entry.time);
            if !source.entry(&entry).context("writing the log")? {
                return Ok(());
            }
        }
        source.finish().context("writing the log")?;
        // What a restarted command says comes later than all of this.
        since = last.map_or(since, |last| last + Duration::from_nanos(1));
        let ended = registry::find(home, &kept.record().id)?;
        if let Some(code) = ended.state.exit_code.filter(|_| ended.running.is_none()) {
            source.note(&format!("{} exited with code {code}", kept.record().name))?;
        }
        if !restarts.is_some_and(|restarts| restarts.wait(&member.service, restarted)) {
            return Ok(());
        }
    }
}

/// Runs `work` in a thread of its own. On the first signal that asks for an end the project is stopped, on the second
/// it is killed; whether there was one is given back. A watch ends first, so that it restarts nothing.
fn interruptible<T: Send>(
    runner: &ProjectRunner,
    signals: &Signals,
    watch: Option<WatchStop>,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<(T, bool)> {
    let (done, finished) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let finished: OwnedFd = finished;
            let result = work();
            drop(finished);
            result
        });
        let mut asked = 0;
        loop {
            let mut fds = [PollFd::new(&done, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for the project"),
            }
            if !fds[0].revents().is_empty() {
                break;
            }
            while let Some(signal) = signals.take() {
                if SignalKind::of(signal) == SignalKind::End {
                    asked += 1;
                    watch.iter().for_each(WatchStop::stop);
                    let kill = asked > 1;
                    scope.spawn(move || runner.interrupt(kill));
                }
            }
        }
        match worker.join() {
            Ok(result) => Ok((result, asked > 0)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
