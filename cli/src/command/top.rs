//! `top`: the processes of a running sandbox, in the columns of ps(1).

use std::collections::BTreeMap;

use anyhow::bail;
use monocore_orchestrator::session::Signals;
use monocore_orchestrator::{Error, Home, Launcher, this_program, tool_output};
use monocore_protocol::{PROCESS_FIELDS, Tool};

use super::args::TopArgs;
use super::named;
use super::output::{self, Table};

/// Clock ticks a second; part of the kernel's interface.
const TICKS: u64 = 100;

/// A process's fields by name.
type Process = BTreeMap<&'static str, String>;

pub(super) fn main(args: &TopArgs) -> anyhow::Result<()> {
    let columns = columns(&args.options)?;
    // Before any thread, so that every signal comes here.
    let signals = Signals::block()?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let entry = named::find(&launcher.home, &args.sandbox)?;
    if entry.running.is_none() {
        return Err(Error::NotRunning(entry.name).into());
    }
    let processes = parse(&tool_output(&launcher, &entry, Tool::Processes, &signals)?);
    let headings: Vec<&str> = columns.iter().map(|column| column.heading()).collect();
    let mut table = Table::new(&headings);
    for process in &processes {
        table.row(columns.iter().map(|column| column.value(process)));
    }
    output::print(&table.to_string())
}

/// Reads what the guest says. Its bytes control no terminal.
fn parse(told: &[u8]) -> Vec<Process> {
    let fields: Vec<String> = told
        .split(|byte| *byte == 0)
        .map(|field| {
            String::from_utf8_lossy(field).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
        })
        .collect();
    let process = |fields: &[String]| PROCESS_FIELDS.into_iter().zip(fields.iter().cloned()).collect();
    fields.chunks_exact(PROCESS_FIELDS.len()).map(process).collect()
}

/// A column by its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column(&'static str);

/// Names of columns as `-o` takes them, and the headings ps gives them.
const NAMES: [(&str, &str); 26] = [
    ("user", "USER"),
    ("uname", "USER"),
    ("euser", "EUSER"),
    ("group", "GROUP"),
    ("uid", "UID"),
    ("gid", "GID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("pcpu", "%CPU"),
    ("%cpu", "%CPU"),
    ("%mem", "%MEM"),
    ("pmem", "%MEM"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tty", "TT"),
    ("tt", "TT"),
    ("stat", "STAT"),
    ("s", "S"),
    ("stime", "STIME"),
    ("etime", "ELAPSED"),
    ("time", "TIME"),
    ("comm", "COMMAND "),
    ("cmd", "CMD"),
    ("args", "COMMAND"),
    ("command", "COMMAND"),
];

const FULL: [&str; 8] = ["UID ", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
const BSD: [&str; 11] =
    ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"];

/// The columns that options of ps ask for.
fn columns(options: &[String]) -> anyhow::Result<Vec<Column>> {
    let mut chosen = Vec::new();
    let mut words = options.iter();
    let mut style = &FULL[..];
    while let Some(word) = words.next() {
        let list = match word.as_str() {
            "-o" | "o" | "-eo" | "--format" => words.next().map(String::as_str),
            word => word.strip_prefix("-o").or_else(|| word.strip_prefix("--format=")),
        };
        match (list, word.trim_start_matches('-')) {
            (Some(list), _) => chosen.extend(named(list)?),
            (None, "e" | "f" | "ef" | "A" | "eF") => {}
            (None, "aux" | "ax" | "u" | "auxw" | "auxww") => style = &BSD,
            (None, _) => bail!("top: {word}: give -ef, aux, or -o with names of columns"),
        }
    }
    if chosen.is_empty() {
        chosen.extend(style.iter().map(|heading| Column(heading)));
    }
    Ok(chosen)
}

fn named(list: &str) -> anyhow::Result<Vec<Column>> {
    let mut found = Vec::new();
    for name in list.split([',', ' ']).filter(|name| !name.is_empty()) {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, heading)) => found.push(Column(heading)),
            None => bail!("top: unknown column {name}"),
        }
    }
    Ok(found)
}

impl Column {
    fn heading(self) -> &'static str {
        self.0.trim_end()
    }

    fn value(self, process: &Process) -> String {
        let text = |name: &str| process.get(name).cloned().unwrap_or_default();
        let number = |name: &str| text(name).parse::<u64>().unwrap_or(0);
        let age = number("now").saturating_sub(number("start"));
        let share = |per: u64| number("ticks").saturating_mul(100 * per).checked_div(age).unwrap_or(0);
        match self.0 {
            "UID " | "USER" | "EUSER" => text("user"),
            "GROUP" => text("group"),
            "UID" => text("uid"),
            "GID" => text("gid"),
            "PID" => text("pid"),
            "PPID" => text("ppid"),
            "C" => share(1).min(99).to_string(),
            "%CPU" => format!("{}.{}", share(10) / 10, share(10) % 10),
            // A guest's memory is its own: what ps would say of the host's means nothing.
            "%MEM" => "0.0".to_owned(),
            "VSZ" => (number("virtual_bytes") / 1024).to_string(),
            "RSS" => (number("resident_bytes") / 1024).to_string(),
            "TTY" | "TT" => text("tty"),
            "STAT" | "S" => text("state"),
            "STIME" | "START" => clock(number("epoch").saturating_sub(age / TICKS)),
            "ELAPSED" => elapsed(age / TICKS),
            "TIME" => duration(number("ticks") / TICKS),
            "COMMAND " => text("name"),
            _ => text("command"),
        }
    }
}

/// The time of a day, UTC.
fn clock(epoch: u64) -> String {
    format!("{:02}:{:02}", epoch / 3600 % 24, epoch / 60 % 60)
}

fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn elapsed(seconds: u64) -> String {
    if seconds < 3600 { format!("{:02}:{:02}", seconds / 60, seconds % 60) } else { duration(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(options: &[&str]) -> Vec<&'static str> {
        let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        columns(&options).unwrap().iter().map(|column| column.heading()).collect()
    }

    #[test]
    fn columns_are_those_of_ps() {
        assert_eq!(headings(&[]), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(headings(&["-ef"]), headings(&[]));
        assert_eq!(headings(&["aux"])[..4], ["USER", "PID", "%CPU", "%MEM"]);
        assert_eq!(headings(&["-o", "pid,comm"]), ["PID", "COMMAND"]);
        assert_eq!(headings(&["-eo", "pid"]), headings(&["-opid"]));
        assert!(columns(&["-Z".to_owned()]).is_err() && columns(&["-ofoo".to_owned()]).is_err());
    }

    #[test]
    fn a_process_is_shown_as_ps_shows_it() {
        let fields = [
            "7",
            "1",
            "0",
            "0",
            "root",
            "root",
            "S",
            "pts/0",
            "250",
            "1000",
            "4096",
            "8192",
            "2000",
            "100000",
            "sleep",
            "sleep 100\x1b",
        ];
        let told = fields.map(|field| format!("{field}\0")).concat();
        let processes = parse(told.as_bytes());
        let shown: Vec<_> = FULL.iter().map(|heading| Column(heading).value(&processes[0])).collect();
        assert_eq!(shown, ["root", "7", "1", "25", "03:46", "pts/0", "00:00:02", "sleep 100 "]);
    }
}
