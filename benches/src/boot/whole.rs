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
const POINTS: &[(&str, &str)] = &[
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

/// A part of a run; milliseconds of this clock are millions of instructions.
pub(crate) struct Stage {
    pub(crate) what: &'static str,
    /// How long it took.
    pub(crate) took_ms: f64,
    /// When it ended, from the program's start on.
    pub(crate) at_ms: f64,
}

/// Runs `true` in `ram_mib` of RAM, the second time with all caches warm, and gives the stages of that.
pub(crate) fn run(monocore: &Path, work: &Path, ram_mib: u32) -> Result<Vec<Stage>> {
    let home = work.join("home");
    let archive = work.join("image.tar");
    write_archive(&archive, IMAGE, &json!({ "Env": ["PATH=/bin"] }), &[busybox()?])?;
    succeed(Command::new(monocore).args(["load", "-q", "-i"]).arg(&archive).env("MONOCORE_HOME", &home))?;
    let timeline = work.join("run-timeline");
    let memory = format!("{ram_mib}m");
    let once = || -> Result<Vec<Stage>> {
        if timeline.exists() {
            fs::remove_file(&timeline)?;
        }
        let mut command = Command::new(monocore);
        command.args(["run", "--pull", "never", "-m", &memory, "--timeline"]).arg(&timeline);
        command.args([IMAGE, "true"]).env("MONOCORE_HOME", &home);
        let began = monotonic_ms();
        succeed(&mut command)?;
        let ended = monotonic_ms() - began;
        stages(&fs::read_to_string(&timeline).context("read the run's timeline")?, began, ended)
    };
    once()?;
    once()
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
    for (event, what) in POINTS {
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
