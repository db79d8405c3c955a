//! Compose files of the wild, brought up and down: three of them; with `MONOCORE_TEST_LONG=1` all.

use std::time::Instant;

use monocore_tests::wild::WildProject;
use monocore_tests::world::World;

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
        let up = project.compose(world, &["up", "-d"]);
        let running = project.count(world, "running");
        if up.code != 0 || running != project.services {
            wrong.push(format!("{}: {running} of {} run: {up:?}", project.title, project.services));
        }
        let down = project.compose(world, &["down", "-v", "-t", "5"]);
        if down.code != 0 || project.compose(world, &["ps", "-aq"]).out() != "" {
            wrong.push(format!("{}: {down:?}", project.title));
        }
        eprintln!("{}: {} services, {:.1} s", project.title, project.services, begun.elapsed().as_secs_f64());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
