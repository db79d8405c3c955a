//! The verbs for sandboxes take a service's name in the project's directory.

use monocore_tests::wait::eventually;
use monocore_tests::world::{Ran, World};

use crate::support::TestProject;

const SERVICES: &str = r#"
[[service]]
name = "web"
base = "test/plain:latest"
ram = 128
command = "/bin/sh"
args = ["-c", "echo started; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
scripts = { hello = "echo hello from $HOSTNAME_OF; cat /kept", fails = "exit 7" }
envs = ["HOSTNAME_OF=web"]

[[service]]
name = "many"
base = "test/plain:latest"
ram = 128
command = "/bin/sleep"
args = ["1000"]
replicas = 2
"#;

#[test]
fn a_service_is_named_where_a_sandbox_is() {
    let project = TestProject::new("project-verbs", SERVICES);
    assert_eq!(project.ran(&["up", "-d"]).code, 0);
    let written = project.ran(&["exec", "web", "sh", "-c", "echo precious > /kept; sync; echo $HOSTNAME_OF"]);
    assert_eq!(written.out(), "web\n");
    eventually("the service has started", || project.ran(&["logs", "web"]).out().contains("started"));
    assert_eq!(project.ran(&["run-script", "web:hello"]).out(), "hello from web\nprecious\n");
    assert_eq!(project.ran(&["stop", "web"]).out(), "web\n");
    assert_eq!(project.status_of("web"), "exited");
    // A script starts the service that it needs.
    let script = project.ran(&["start", "web:hello"]);
    assert_eq!(script.out(), "hello from web\nprecious\n");
    assert_eq!(project.ran(&["start", "web:fails"]).code, 7);
    let unknown = project.ran(&["start", "web:nothing"]);
    assert_eq!(unknown.code, 125);
    assert!(unknown.stderr.contains("it has: fails, hello"), "{unknown:?}");
    let id = project.id_of("web");
    assert_eq!(project.ran(&["restart", "web"]).code, 0);
    assert_eq!((project.id_of("web"), project.status_of("web")), (id, "running".into()));
    let copied = World::get().path("project-verbs").join("copied");
    assert_eq!(project.ran(&["cp", "web:/kept", copied.to_str().unwrap()]).code, 0);
    assert_eq!(std::fs::read_to_string(&copied).unwrap(), "precious\n");
    assert_eq!(project.ran(&["start", "web"]).code, 0, "what runs is left alone");
    for verb in [&["exec", "many", "true"][..], &["stop", "many"], &["logs", "many"]] {
        let several = project.ran(verb);
        assert_ne!(several.code, 0);
        let names = "name one of project-verbs-many-1, project-verbs-many-2";
        assert!(several.stderr.contains(names), "{several:?}");
    }
    let nobody = project.ran(&["exec", "nobody", "true"]);
    assert!(nobody.stderr.contains("nobody"), "{nobody:?}");
}

#[test]
fn a_sandbox_of_that_name_comes_before_the_service() {
    // Tests of other projects mean their own service by this name.
    let world = World::of_its_own("shadow");
    let project = TestProject::new_in(world, "project-shadow", SERVICES);
    assert_eq!(project.ran(&["up", "-d", "web"]).code, 0);
    let elsewhere = |words: &[&str]| -> Ran { world.monocore(words).output().unwrap().into() };
    let run = ["run", "-d", "--name", "web", "--memory", "128m", "test/plain:latest", "sleep", "1000"];
    assert_eq!(elsewhere(&run).code, 0);
    let outside = project.ran(&["exec", "web", "sh", "-c", "echo ${HOSTNAME_OF:-other}"]);
    let removed = elsewhere(&["rm", "-f", "web"]);
    assert_eq!((outside.out(), removed.code), ("other\n", 0));
    assert_eq!(project.ran(&["exec", "web", "sh", "-c", "echo $HOSTNAME_OF"]).out(), "web\n");
    // Elsewhere it is no sandbox.
    assert_eq!(elsewhere(&["exec", "web", "true"]).code, 125);
}

#[test]
fn nothing_of_a_look_around_stays_and_a_program_of_an_image_runs() {
    let dir = World::get().path("project-tmp");
    std::fs::create_dir_all(&dir).unwrap();
    let world = |words: &[&str]| -> Ran { World::get().monocore(words).output().unwrap().into() };
    let image = "test/plain:latest";
    let once =
        world(&["tmp", "--name", "looked-around", "-m", "128m", image, "sh", "-c", "echo here; exit 3"]);
    assert_eq!((once.code, once.stdout.as_str()), (3, "here\n"), "{once:?}");
    // Without a command it is a shell.
    let script = dir.join("script");
    std::fs::write(&script, "echo typed > /file; cat /file; exit 4\n").unwrap();
    let mut shell = World::get().monocore(["tmp", "-m", "128m", image]);
    let shell: Ran = shell.stdin(std::fs::File::open(&script).unwrap()).output().unwrap().into();
    assert_eq!((shell.code, shell.stdout.as_str()), (4, "typed\n"), "{shell:?}");
    assert!(!world(&["ps", "-a"]).out().contains("looked-around"));
    let bin = dir.to_str().unwrap();
    let install = ["install", "--dir", bin, "--cwd", "--name", "count", "-m", "128m", image, "wc", "-l"];
    assert_eq!(world(&install).out(), format!("{bin}/count\n"));
    let mut count = std::process::Command::new(dir.join("count"));
    count.arg("script").current_dir(&dir).env("MONOCORE_HOME", World::get().home());
    let counted: Ran = count.stdin(std::process::Stdio::null()).output().unwrap().into();
    assert_eq!(counted.out().trim(), "1 script");
    assert_eq!(world(&["uninstall", "--dir", bin, "count"]).out(), "count\n");
}
