//! Commands that are killed, or refused by the file system, at each of their steps: afterwards what is kept is what was or what
//! is, every command works again, and nothing is left behind. No guest is needed.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "host_faults/bystander.rs"]
mod bystander;
#[path = "host_faults/costs.rs"]
mod costs;
#[path = "host_faults/kept.rs"]
mod kept;
#[path = "host_faults/power.rs"]
mod power;
#[path = "host_faults/steps.rs"]
mod steps;
#[path = "host_faults/verbs.rs"]
mod verbs;

use kept::Kept;
use steps::Fault;
use verbs::{VERBS, Verb};

/// Does `verb` with each fault at each of its steps.
fn suffer(verb: &Verb, faults: &[Fault]) -> usize {
    let kept = Kept::new(verb.name);
    // The first time makes folders that stay.
    kept.all(&[verb.before, &[verb.command], verb.clear].concat());
    let nothing = kept.tree();
    kept.all(verb.before);
    let before = kept.sight(verb.seen);
    let steps = steps::of(&kept, verb.command);
    let after = kept.sight(verb.seen);
    assert_ne!(before, after, "{}: the command does nothing that is looked at", verb.name);
    kept.all(verb.clear);
    kept.holds_only(&nothing, verb.name);
    let mut cases = 0;
    for fault in faults {
        for step in steps.iter().filter(|step| fault.meets(step)) {
            kept.all(verb.before);
            let ran = steps::fail(&kept, verb.command, step, *fault);
            let case = format!("{}: {fault:?} at {step:?}: {ran:?}", verb.name);
            let seen = kept.sight(verb.seen);
            match fault {
                // The step may be one of a thread that was late.
                Fault::Killed | Fault::PowerCut => {
                    assert!([&before, &after].contains(&&seen), "{case}: {seen}")
                }
                Fault::Error(_) if ran.code == 0 => assert_eq!(seen, after, "{case}"),
                Fault::Error(errno) => {
                    assert!([&before, &after].contains(&&seen), "{case}: {seen}");
                    assert!(ran.stderr.contains(errno.text()), "{case}: the error does not say why");
                }
            }
            if seen == before {
                let again = kept.run(verb.command);
                assert_eq!(again.code, 0, "{case}: and then {again:?}");
            }
            assert_eq!(kept.sight(verb.seen), after, "{case}: and then it was done again");
            kept.all(verb.clear);
            // Any listing puts right what was left behind.
            kept.all(&[&["ps", "-a"]]);
            kept.holds_only(&nothing, &case);
            cases += 1;
        }
    }
    cases
}

/// Does `verb` to its end and cuts the power then: what was answered stays done.
fn suffer_afterwards(verb: &Verb) {
    let kept = Kept::new(verb.name);
    kept.all(verb.before);
    let before = kept.sight(verb.seen);
    let ran = steps::cut_short(&kept, verb.command, &[]);
    assert_eq!(ran.code, 0, "{}: {ran:?}", verb.name);
    let after = kept.sight(verb.seen);
    assert_ne!(before, after, "{}: a power cut undoes it", verb.name);
    let again = Kept::new(verb.name);
    again.all(&[verb.before, &[verb.command]].concat());
    assert_eq!(after, again.sight(verb.seen), "{}", verb.name);
    kept.all(verb.clear);
}

/// Every verb, each in a thread of its own; at least `least` cases come of it.
fn all_suffer(faults: &[Fault], least: usize) {
    let cases: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = VERBS.iter().map(|verb| scope.spawn(|| suffer(verb, faults))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    eprintln!("{cases} cases");
    assert!(cases >= least, "{cases} cases only");
}

#[test]
fn a_command_that_is_killed_anywhere_leaves_what_was_or_what_is() {
    all_suffer(&[Fault::Killed], 150);
}

#[test]
fn a_power_cut_anywhere_leaves_what_was_or_what_is() {
    all_suffer(&[Fault::PowerCut], 150);
    VERBS.iter().for_each(suffer_afterwards);
}

#[test]
fn a_command_that_the_file_system_refuses_something_says_so_and_loses_nothing() {
    use steps::Errno::{DiskFull, Io, Quota};
    all_suffer(&[DiskFull, Io, Quota].map(Fault::Error), 200);
}
