//! Log lines on standard error: warnings, or what `MONOCORE_LOG` asks for (`debug`, `monocore_oci=trace`, …).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::output;

pub(super) fn start() {
    start_with(LevelFilter::WARN);
}

/// The same for `serve`, which also writes a line for each request.
pub(super) fn start_server() {
    start_with(LevelFilter::INFO);
}

fn start_with(level: LevelFilter) {
    let colours = std::io::stderr().is_terminal() && output::colours_wanted();
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours);
    match std::env::var("MONOCORE_LOG") {
        Ok(filter) => lines.with_env_filter(EnvFilter::new(filter)).init(),
        Err(_) => match level {
            LevelFilter::WARN => lines.with_max_level(level).without_time().init(),
            level => lines.with_max_level(level).init(),
        },
    }
}
