//! The figures, one table a load, and what they are held to.

use monocore_benches::load::Load;

use crate::Row;
use crate::count::Figures;

/// A figure of one way against another's, and the most it may be.
struct Bar {
    what: &'static str,
    ours: &'static str,
    theirs: &'static str,
    loads: &'static [usize],
    max: f64,
}

/// Places in [`LOADS`](crate::LOADS).
const BULK: &[usize] = &[0, 1];
const REQUESTS: &[usize] = &[2];

const BARS: [Bar; 3] = [
    Bar { what: "instructions a byte", ours: "nat", theirs: "passt", loads: BULK, max: 1.2 },
    Bar { what: "instructions a byte", ours: "tsi", theirs: "nat", loads: BULK, max: 0.65 },
    Bar { what: "instructions a request", ours: "tsi", theirs: "nat", loads: REQUESTS, max: 0.7 },
];

/// What a load's figures are divided by, and what they are then called.
struct Unit {
    title: &'static str,
    instructions: &'static str,
    instructions_each: f64,
    events: &'static str,
    events_each: f64,
    copied_each: f64,
}

fn unit(load: Load) -> Unit {
    let count = f64::from(load.count());
    let bulk = |title| Unit {
        title,
        instructions: "instructions/byte",
        instructions_each: count,
        events: "/MiB",
        events_each: count / f64::from(1 << 20),
        copied_each: count,
    };
    let single = |title| Unit {
        title,
        instructions: "1,000 instructions",
        instructions_each: count * 1e3,
        events: " each",
        events_each: count,
        copied_each: count,
    };
    match load {
        Load::Send(_) => bulk("bulk, guest to host"),
        Load::Receive(_) => bulk("bulk, host to guest"),
        Load::Requests(_) => single("a request: a byte there and back"),
        Load::Connections(_) => single("a connection: opened, a byte, closed"),
    }
}

/// Prints every load's table.
pub(crate) fn print(rows: &[Row]) {
    let loads = rows.first().map_or(0, |row| row.figures.len());
    for index in 0..loads {
        for (line, row) in rows.iter().enumerate() {
            let Some(figures) = row.figures.get(index) else { continue };
            let unit = unit(figures.load);
            if line == 0 {
                println!(
                    "\n{:<40}{:>20}{:>14}{:>20}{:>14}",
                    unit.title,
                    unit.instructions,
                    format!("exits{}", unit.events),
                    format!("system calls{}", unit.events),
                    "bytes copied"
                );
            }
            println!(
                "  {:<38}{:>20.2}{:>14.2}{:>20.2}{:>14.2}",
                row.mode.name,
                figures.instructions / unit.instructions_each,
                figures.exits / unit.events_each,
                figures.system_calls / unit.events_each,
                figures.copied_bytes / unit.copied_each
            );
        }
    }
    println!();
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
            let what = format!("{} of {}'s {}, {}", bar.ours, bar.theirs, bar.what, unit(ours.load).title);
            println!("{what:<78}{ratio:>6.2} {sign} {}", bar.max);
            good &= kept;
        }
    }
    good
}

fn ratio(ours: &Figures, theirs: &Figures) -> f64 {
    ours.instructions / theirs.instructions
}
