//! `events`: what happens to sandboxes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, ValueEnum};
use monocore_orchestrator::Home;
use monocore_orchestrator::events::{EventFilter, EventReader, EventStart, SandboxEvent, parse_event_filter};

use super::{logs, output};

/// The smallest number that is a time since 1970 and not a duration, seconds.
const FIRST_TIMESTAMP: f64 = 1e9;

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Begin with the events since a time (2026-11-30T04:41:00Z, 1796013660) or a duration ago (10m)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<SystemTime>,
    /// End with the events until a time, or a duration ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<SystemTime>,
    /// Show only some: container=NAME, image=NAME, event=ACTION, label=KEY[=VALUE] or type=container
    #[arg(short, long, value_name = "FILTER", value_parser = parse_event_filter)]
    filter: Vec<EventFilter>,
    /// How events are written
    #[arg(long, value_enum, default_value_t)]
    format: EventFormat,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    /// For people; times are UTC.
    #[default]
    Text,
    /// One JSON object a line, in the shape of Docker's events.
    Json,
}

fn parse_time(text: &str) -> Result<SystemTime, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds >= FIRST_TIMESTAMP => {
            let since = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
            UNIX_EPOCH.checked_add(since).ok_or_else(|| "the time is too late".to_owned())
        }
        _ => logs::parse_since(text),
    }
}

pub(super) fn main(args: &EventsArgs) -> anyhow::Result<()> {
    // As in Docker, what has happened is shown only if a time is given.
    let has_times = args.since.is_some() || args.until.is_some();
    let start = if has_times { EventStart::Oldest } else { EventStart::Now };
    let mut reader = EventReader::open(&Home::locate()?, start)?;
    loop {
        while let Some(event) = reader.next_event().context("reading events")? {
            if args.until.is_some_and(|until| event.at() > until) {
                return Ok(());
            }
            let is_new = args.since.is_none_or(|since| event.at() >= since);
            if is_new && EventFilter::all_take(&args.filter, &event) && !output::line(&write(&event, args)?)?
            {
                return Ok(());
            }
        }
        if !reader.wait(args.until).context("waiting for events")? {
            return Ok(());
        }
    }
}

fn write(event: &SandboxEvent, args: &EventsArgs) -> anyhow::Result<String> {
    match args.format {
        EventFormat::Json => Ok(serde_json::to_string(event)?),
        EventFormat::Text => Ok(text(event)),
    }
}

/// Labels and commands are a user's or an image's: control characters mean nothing to a terminal here.
fn text(event: &SandboxEvent) -> String {
    let attributes: Vec<_> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let time = humantime::format_rfc3339_nanos(event.at());
    let line =
        format!("{time} {} {} {} ({})", event.kind, event.action, event.actor.id, attributes.join(", "));
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_timestamps_or_durations_ago() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(parse_time("2026-11-30T04:41:00Z"), Ok(at(1_796_013_660)));
        assert_eq!(parse_time("1796013660"), Ok(at(1_796_013_660)));
        assert_eq!(parse_time("1796013660.5"), Ok(at(1_796_013_660) + Duration::from_millis(500)));
        assert!(parse_time("10m").is_ok_and(|time| time < SystemTime::now()));
        assert!(parse_time("1e300").is_err() && parse_time("soon").is_err());
    }

    #[test]
    fn a_line_for_people_is_one_line() {
        let json = r#"{"status":"start","id":"0123","from":"alpine","Type":"container","Action":"start",
            "Actor":{"ID":"0123","Attributes":{"image":"alpine","name":"a\nb"}},"scope":"local","time":1,
            "timeNano":1000000000}"#;
        let event = serde_json::from_str::<SandboxEvent>(json).unwrap();
        assert_eq!(
            text(&event),
            "1970-01-01T00:00:01.000000000Z container start 0123 (image=alpine, name=a b)"
        );
    }
}
