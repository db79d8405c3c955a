//! Compose files of the wild: each is made into sandboxes and removed again. No guest runs.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use monocore_tests::wild::WildProject;
use monocore_tests::world::World;

#[test]
fn every_example_is_made_and_removed() {
    let world = World::get();
    let projects = WildProject::all(world, "wild");
    let mut wrong = Vec::new();
    for project in &projects {
        let made = project.compose(world, &["create"]);
        if made.code != 0 || project.count(world, "created") != project.services {
            wrong.push(format!("{}: {made:?}", project.title));
        }
        // As in Compose, only `-a` lists what does not run.
        if project.compose(world, &["ps", "-q"]).out() != "" {
            wrong.push(format!("{}: `ps` lists what does not run", project.title));
        }
        let gone = project.compose(world, &["down", "-v"]);
        if gone.code != 0 {
            wrong.push(format!("{}: {gone:?}", project.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(projects.len() >= 35, "{}", projects.len());
    for dir in ["sandboxes", "names", "groups", "volumes"] {
        let left: Vec<_> =
            std::fs::read_dir(world.home().join(dir)).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{dir} has {left:?}");
    }
}
