//! The figures, one table a way, and what they are held to.

use monocore_benches::load::Load;

use crate::Row;
use crate::count::Figures;

/// A figure of one way against another's, and the most it may be.
struct Bar {
    ours: &'static str,
    theirs: &'static str,
    loads: &'static [usize],
    max: f64,
}

/// Places among the loads of a [`Mode`](crate::mode::Mode).
const BULK: &[usize] = &[0, 1];
const REQUESTS: &[usize] = &[2];

const BARS: [Bar; 4] = [
    Bar { ours: "nat", theirs: "passt", loads: BULK, max: 1.2 },
    Bar { ours: "peers-nat", theirs: "nat", loads: BULK, max: 1.3 },
    Bar { ours: "tsi", theirs: "nat", loads: BULK, max: 1.0 },
    Bar { ours: "tsi", theirs: "nat", loads: REQUESTS, max: 0.8 },
];

/// What a load's figures are divided by.
struct Unit {
    what: &'static str,
    /// Bytes, requests or connections.
    count: f64,
    /// The same, but MiB instead of bytes: events are rare.
    events: f64,
}

fn unit(load: Load) -> Unit {
    let count = f64::from(load.count());
    let what = match load {
        Load::Send(_) => "a byte, guest to host",
        Load::Receive(_) => "a byte, host to guest",
        Load::Requests(_) => "a request: a byte there and back",
        Load::Connections(_) => "a connection: opened, a byte, closed",
    };
    let events = match load {
        Load::Send(_) | Load::Receive(_) => count / f64::from(1 << 20),
        Load::Requests(_) | Load::Connections(_) => count,
    };
    Unit { what, count, events }
}

/// Prints what one way costs.
pub(crate) fn print(row: &Row) {
    let (name, events) = (row.mode.name, ["exits*", "system calls*", "bytes copied"]);
    println!("\n{name:<40}{:>14}{:>14}{:>14}{:>14}", "instructions", events[0], events[1], events[2]);
    for figures in &row.figures {
        let unit = unit(figures.load);
        println!(
            "  {:<38}{:>14.2}{:>14.2}{:>14.2}{:>14.2}",
            unit.what,
            figures.instructions / unit.count,
            figures.exits / unit.events,
            figures.system_calls / unit.events,
            figures.copied_bytes / unit.count
        );
    }
}

/// Says how the ways compare where both were measured, and whether every bar is kept.
pub(crate) fn bars(rows: &[Row]) -> bool {
    let mut good = true;
    for bar in &BARS {
        for &load in bar.loads {
            let of = |name: &str| {
                let row = rows.iter().find(|row| row.mode.name == name);
                row.and_then(|row| row.figures.get(load))
            };
            let (Some(ours), Some(theirs)) = (of(bar.ours), of(bar.theirs)) else { continue };
            let ratio = ratio(ours, theirs);
            let kept = ratio <= bar.max;
            let sign = if kept { "<=" } else { "MISSES" };
            let what =
                format!("{}'s instructions, share of {}'s, {}", bar.ours, bar.theirs, unit(ours.load).what);
            println!("{what:<70}{ratio:>6.2} {sign} {}", bar.max);
            good &= kept;
        }
    }
    good
}

fn ratio(ours: &Figures, theirs: &Figures) -> f64 {
    let each = |figures: &Figures| figures.instructions / unit(figures.load).count;
    each(ours) / each(theirs)
}
