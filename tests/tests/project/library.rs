//! The façade for Rust programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use monocore::config::{Group, Monocore, Service};
use monocore::orchestration::{LogRetentionPolicy, Orchestrator};
use monocore_tests::world::{PLAIN, Ran, World};

#[test]
fn a_program_brings_a_project_up_and_down() {
    let world = World::get();
    let program = PathBuf::from(world.monocore([""; 0]).get_program());
    let service = |name: &str| {
        Service::builder_default().name(name).base(PLAIN).ram(128).group("main").command("/bin/sleep")
    };
    let app = service("app").args(["infinity"]).build();
    let second = service("second").args(["infinity"]).depends_on(["app"]).build();
    let config = Monocore::builder()
        .name("library")
        .services(vec![second, app])
        .groups(vec![Group::builder().name("main").build()])
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let retention = LogRetentionPolicy::with_max_age_weeks(1);
        let mut orchestrator =
            Orchestrator::with_log_retention_policy(world.home(), program, retention).await.unwrap();
        let up = orchestrator.up(config).await.unwrap();
        assert_eq!(up.len(), 2);
        assert!(up.iter().all(|member| member.is_running()), "{up:?}");
        orchestrator.remove("library", &["second".into()]).await.unwrap();
        let left = orchestrator.status("library").await.unwrap();
        assert_eq!(left.iter().map(|member| member.service.as_str()).collect::<Vec<_>>(), ["app"]);
        orchestrator.down("library").await.unwrap();
        assert!(orchestrator.status("library").await.unwrap().is_empty());
    });
}

/// An example of the façade's, as cargo builds it beside the tests.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "{} is built by `cargo build --examples`", path.display());
    let mut command = Command::new(path);
    command.env("MONOCORE_HOME", World::get().home()).stdin(Stdio::null());
    command
}

#[test]
fn the_examples_run() {
    let world = World::get();
    let root = world.path("example-root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/true")).unwrap();
    let status = example("microvm").arg(&root).arg("/bin/true").status().unwrap();
    assert!(status.success(), "{status}");
    let program = world.monocore([""; 0]).get_program().to_owned();
    let ran: Ran = example("project").arg(world.home()).arg(program).arg(PLAIN).output().unwrap().into();
    assert!(ran.code == 0 && ran.stderr.contains("app runs"), "{ran:?}");
}

/// The README's program is the example but for its paths.
#[test]
fn the_readme_shows_the_example() {
    let readme = include_str!("../../../README.md");
    let example = include_str!("../../../sdk/rust/examples/microvm.rs");
    let (_, block) = readme.split_once("```rust\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    for line in block.lines() {
        let code = line.split("//").next().unwrap().trim();
        let code = code.replace("\"/path/to/rootfs\"", "root").replace("\"/bin/true\"", "program");
        assert!(example.contains(&code), "{code}");
    }
}

#[test]
fn what_a_program_built_wrongly_starts_nothing() {
    let service = Service::builder_default().name("app").base(PLAIN).group("nobody").port("0:x").build();
    let errors = Monocore::builder().services([service]).build().unwrap_err();
    assert_eq!(errors.iter().count(), 2, "{errors}");
}
