//! The façade for Rust programs.

use std::path::PathBuf;

use monocore::config::{Group, Monocore, Service};
use monocore::orchestration::{LogRetentionPolicy, Orchestrator};
use monocore_tests::world::{PLAIN, World};

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

#[test]
fn what_a_program_built_wrongly_starts_nothing() {
    let service = Service::builder_default().name("app").base(PLAIN).group("nobody").port("0:x").build();
    let errors = Monocore::builder().services([service]).build().unwrap_err();
    assert_eq!(errors.iter().count(), 2, "{errors}");
}
