//! Brings a project of one service up, says where it is, and takes it down again:
//! `cargo run --example project -- /path/to/home /path/to/monocore [IMAGE]`.

use std::error::Error;
use std::path::PathBuf;

use monocore::config::{Group, Monocore, Service};
use monocore::orchestration::{LogRetentionPolicy, Orchestrator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let usage = "usage: project HOME MONOCORE [IMAGE]";
    let (home, program) =
        (PathBuf::from(words.next().ok_or(usage)?), PathBuf::from(words.next().ok_or(usage)?));
    let image =
        words.next().map_or_else(|| "alpine:latest".into(), |word| word.to_string_lossy().into_owned());

    let service = Service::builder_default()
        .name("app")
        .base(image)
        .ram(512)
        .group("main")
        .command("/bin/sleep")
        .args(["infinity"])
        .build();
    let config = Monocore::builder()
        .services(vec![service])
        .groups(vec![Group::builder().name("main").build()])
        .build()?;
    let retention = LogRetentionPolicy::with_max_age_weeks(1);
    let mut orchestrator = Orchestrator::with_log_retention_policy(home, program, retention).await?;
    for member in orchestrator.up(config).await? {
        eprintln!("{} {}", member.service, if member.is_running() { "runs" } else { "does not run" });
    }
    orchestrator.down("monocore").await?;
    Ok(())
}
