//! Compose files of the wild, brought up and down with guests, one after the other: three of them;
//! with `MONOCORE_TEST_LONG=1` all that monocore takes.

use std::time::Instant;

use monocore_tests::wild::{TOO_LONG, WildProject};
use monocore_tests::world::{Ran, World};

use crate::support::ports;

const FEW: [&str; 3] = ["nginx-golang-postgres", "prometheus-grafana", "wordpress-mysql"];

#[test]
fn examples_of_the_wild_come_up_and_go() {
    let _ports = ports();
    let world = World::get();
    let is_long = std::env::var_os("MONOCORE_TEST_LONG").is_some();
    let chosen = |project: &WildProject| is_long || FEW.contains(&project.title.as_str());
    let projects: Vec<_> = WildProject::all(world, "wild-guests").into_iter().filter(chosen).collect();
    assert!(projects.len() >= if is_long { 30 } else { 3 }, "{}", projects.len());
    let mut wrong = Vec::new();
    for project in &projects {
        let begun = Instant::now();
        let found = up_and_down(world, project);
        let result = found.as_ref().map_or_else(String::clone, |()| "came up and went".to_owned());
        let (services, took) = (project.services, begun.elapsed().as_secs_f64());
        eprintln!("{}: {services} services, {took:.1} s: {result}", project.title);
        wrong.extend(found.err().map(|what| format!("{}: {what}", project.title)));
    }
    eprintln!("{} of {} examples came up and went", projects.len() - wrong.len(), projects.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Brings one example up and takes it down in any case; says what went wrong.
fn up_and_down(world: &World, project: &WildProject) -> Result<(), String> {
    let up = project.compose(world, &["up", "-d"]);
    let running = project.count(world, "running");
    let down = project.compose(world, &["down", "-v", "-t", "5"]);
    let left = project.compose(world, &["ps", "-aq"]);
    succeeded("up", &up)?;
    if running != project.services {
        return Err(format!("{running} of {} services run: {up:?}", project.services));
    }
    succeeded("down", &down)?;
    if left.out() == "" { Ok(()) } else { Err(format!("down leaves {left:?}")) }
}

fn succeeded(verb: &str, ran: &Ran) -> Result<(), String> {
    match ran.code {
        0 => Ok(()),
        TOO_LONG => Err(format!("{verb} did not end: {ran:?}")),
        _ => Err(format!("{verb} failed: {ran:?}")),
    }
}
