//! What bringing a project up costs, beside one sandbox.

use std::time::{Duration, Instant};

use crate::support::TestProject;

/// Services of the project, in three groups.
const SERVICES: u32 = 12;

fn services(count: u32) -> String {
    let service = |number: u32| {
        format!(
            "[[service]]\nname = \"s{number}\"\nbase = \"test/plain:latest\"\nram = 128\ngroup = \"g{}\"\n\
             command = \"/bin/sleep\"\nargs = [\"1000\"]\nstop_signal = \"KILL\"\n",
            number % 3
        )
    };
    let groups = ["g0", "g1", "g2"].map(|name| format!("[[group]]\nname = \"{name}\"\n"));
    (0..count).map(service).chain(groups).collect()
}

fn time(project: &TestProject, words: &[&str]) -> Duration {
    let begun = Instant::now();
    let ran = project.ran(words);
    assert_eq!(ran.code, 0, "{ran:?}");
    begun.elapsed()
}

#[test]
fn many_services_start_side_by_side_and_an_up_without_changes_starts_nothing() {
    let is_long = std::env::var_os("MONOCORE_TEST_LONG").is_some();
    // Three of them show that it works; twelve are for the figures.
    let count = if is_long { SERVICES } else { 3 };
    let cores = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let one = TestProject::new("project-one", &services(1));
    // The first start of all unpacks the kernel and fills caches.
    time(&one, &["up", "-d"]);
    time(&one, &["down"]);
    let single = time(&one, &["up", "-d"]);
    let exec = time(&one, &["exec", "s0", "true"]);
    let many = TestProject::new("project-many", &services(count));
    let all = time(&many, &["up", "-d"]);
    let before: Vec<String> = (0..count).map(|number| many.id_of(&format!("s{number}"))).collect();
    let again = time(&many, &["up", "-d"]);
    let after: Vec<String> = (0..count).map(|number| many.id_of(&format!("s{number}"))).collect();
    assert_eq!(before, after);
    eprintln!(
        "one service {single:.2?}, {count} services {all:.2?} on {cores} cores, again {again:.2?}, exec true {exec:.2?}"
    );
    if is_long {
        assert!(all <= single * count / cores * 5 / 2, "{all:?} for {count}, {single:?} for one");
        assert!(again <= exec * count, "{again:?}, {exec:?} for exec");
    }
}
