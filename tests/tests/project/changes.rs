//! A project whose file changes while it runs.

use crate::support::TestProject;

fn service(name: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nbase = \"test/plain:latest\"\nram = 128\ncommand = \"/bin/sleep\"\n\
         args = [\"1000\"]\n{more}\n"
    )
}

#[test]
fn only_what_changed_is_touched() {
    let first = [service("stays", ""), service("changes", ""), service("goes", "")].concat();
    let project = TestProject::new("project-changes", &first);
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    let ids = [project.id_of("stays"), project.id_of("changes")];
    let again = project.ran(&["up", "-d"]);
    assert!(!again.stderr.contains("Starting"), "{again:?}");
    project
        .write(&[service("stays", ""), service("changes", "envs = [\"A=b\"]"), service("new", "")].concat());
    let plan = project.ran(&["up", "--dry-run"]);
    assert!(plan.out().lines().any(|line| line.contains("changes") && line.contains("process")), "{plan:?}");
    let apply = project.ran(&["apply"]);
    assert_eq!(apply.code, 0, "{apply:?}");
    assert_eq!(project.id_of("stays"), ids[0]);
    assert_ne!(project.id_of("changes"), ids[1]);
    assert_eq!((project.status_of("new"), project.status_of("goes")), ("running".into(), "none".into()));
}

#[test]
fn what_was_killed_or_stopped_is_started_again_with_its_disk() {
    let project = TestProject::new("project-killed", &service("db", ""));
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    let (id, name) = (project.id_of("db"), "project-killed-db-1");
    project.ran(&["exec", name, "sh", "-c", "echo precious > /kept; sync"]).out();
    project.ran(&["kill", name]).out();
    assert_eq!(project.status_of("db"), "exited");
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    assert_eq!(project.id_of("db"), id);
    assert_eq!(project.ran(&["exec", name, "cat", "/kept"]).out(), "precious\n");
}

#[test]
fn replicas_are_sandboxes_of_their_own() {
    let project = TestProject::new("project-scale", &service("web", "replicas = 3"));
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    assert_eq!(project.status().as_array().unwrap().len(), 3);
    project.write(&service("web", "replicas = 1"));
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    assert_eq!(project.status().as_array().unwrap().len(), 1);
    assert_eq!(project.ran(&["up", "-d", "--scale", "web=2"]).code, 0);
    assert_eq!(project.status().as_array().unwrap().len(), 2);
    let unknown = project.ran(&["up", "-d", "--scale", "nobody=2"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("has no service nobody"), "{unknown:?}");
}
