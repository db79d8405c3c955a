//! A whole `monocore run … true` of an image in the store, from the program's start to its end, stage by stage.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use monocore_tests::image::{busybox, write_archive};
use serde_json::json;

use crate::machine::{moment, monotonic_ms};

const IMAGE: &str = "bench/busybox:latest";
/// The points a run comes to, in order, and what each ends.
const POINTS: [(&str, &str); 9] = [
    ("planned", "flags read, image found, files opened"),
    ("spawned", "the machine's process spawned"),
    ("built", "machine built"),
    ("first_run", "jailed, first guest instruction"),
    ("mark:1", "kernel booted, init's first act"),
    ("connected", "agent connected"),
    ("started", "root and mounts made, command started"),
    ("exited", "exit status arrived"),
    ("end", "the machine told to end"),
];

/// The stage at whose end the image's command runs: the boot is over.
pub(crate) const STARTED: usize = 6;

/// A part of a run; milliseconds of this clock are millions of instructions.
pub(crate) struct Stage {
    pub(crate) what: &'static str,
    /// How long it took.
    pub(crate) took_ms: f64,
    /// When it ended, from the program's start on.
    pub(crate) at_ms: f64,
}

/// `monocore` with an image to run.
pub(crate) struct Whole<'a> {
    monocore: &'a Path,
    work: &'a Path,
    ram_mib: u32,
}

impl<'a> Whole<'a> {
    /// Loads the image.
    pub(crate) fn new(monocore: &'a Path, work: &'a Path, ram_mib: u32) -> Result<Self> {
        let archive = work.join("image.tar");
        write_archive(&archive, IMAGE, &json!({ "Env": ["PATH=/bin"] }), &[busybox()?])?;
        let whole = Self { monocore, work, ram_mib };
        succeed(whole.command().args(["load", "-q", "-i"]).arg(&archive))?;
        Ok(whole)
    }

    /// Runs `true` with `flags`, the second time with all caches warm, and gives the stages of that.
    pub(crate) fn run(&self, flags: &[&str]) -> Result<Vec<Stage>> {
        self.once(flags)?;
        self.once(flags)
    }

    fn once(&self, flags: &[&str]) -> Result<Vec<Stage>> {
        let timeline = self.work.join("run-timeline");
        if timeline.exists() {
            fs::remove_file(&timeline)?;
        }
        let mut command = self.command();
        command.args(["run", "--pull", "never", "-m", &format!("{}m", self.ram_mib), "--timeline"]);
        command.arg(&timeline).args(flags).args([IMAGE, "true"]);
        let began = monotonic_ms();
        succeed(&mut command)?;
        let ended = monotonic_ms() - began;
        stages(&fs::read_to_string(&timeline).context("read the run's timeline")?, began, ended)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.monocore);
        command.env("MONOCORE_HOME", self.work.join("home"));
        command
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn stages(timeline: &str, began: f64, ended: f64) -> Result<Vec<Stage>> {
    let mut all = Vec::with_capacity(POINTS.len() + 1);
    let mut last = 0.0;
    for (event, what) in &POINTS {
        let at_ms = moment(timeline, event)? - began;
        all.push(Stage { what, took_ms: at_ms - last, at_ms });
        last = at_ms;
    }
    all.push(Stage { what: "everything cleared away, end", took_ms: ended - last, at_ms: ended });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_each_other_to_the_end() {
        let line = |(at, (event, _)): (usize, &(&str, &str))| {
            format!("{{\"event\":\"{event}\",\"monotonic_ns\":{}}}\n", (at + 2) * 1_000_000)
        };
        // Two processes write: the lines need not be in order.
        let timeline: String = POINTS.iter().enumerate().map(line).rev().collect();
        let stages = stages(&timeline, 1.0, 12.0).unwrap();
        assert!(stages[..9].iter().all(|stage| (stage.took_ms - 1.0).abs() < 1e-9));
        assert!((stages[9].took_ms - 3.0).abs() < 1e-9 && (stages[9].at_ms - 12.0).abs() < 1e-9);
        assert!(super::stages("", 0.0, 1.0).is_err());
    }
}
