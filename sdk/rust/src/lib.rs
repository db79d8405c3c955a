//! Runs OCI images as microVM sandboxes, from a Rust program.
//!
//! - [`vm`] boots one guest inside this very process, from a directory.
//! - [`config`] describes projects: services, the groups they share, `monocore.toml` and Compose files.
//! - [`sandbox`] makes, starts, asks and stops sandboxes that are kept.
//! - [`orchestration`] brings projects up and down. Each sandbox is a process of its own, the program `monocore`, whose
//!   path the caller gives.
//!
//! ```no_run
//! use monocore::config::{Group, Monocore, Service};
//! use monocore::orchestration::{LogRetentionPolicy, Orchestrator};
//!
//! # async fn program() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Service::builder_default().name("app").base("alpine:latest").ram(512)
//!     .group("main").command("/bin/sleep").args(["infinity"]).build();
//! let config = Monocore::builder()
//!     .services(vec![service])
//!     .groups(vec![Group::builder().name("main").build()])
//!     .build()?;
//! let mut orchestrator = Orchestrator::with_log_retention_policy(
//!     "/path/to/home", "/path/to/monocore", LogRetentionPolicy::with_max_age_weeks(1)).await?;
//! orchestrator.up(config).await?;
//! # Ok(())
//! # }
//! ```

pub mod sandbox;
pub mod vm;

pub use monocore_orchestrator::{config, spec};

/// Projects brought up and down.
pub mod orchestration {
    pub use monocore_orchestrator::{
        Change, DownOptions, Error, LogRetentionPolicy, Member, Orchestrator, PlannedStep, ProjectEvent,
        ProjectPlan, ProjectRunner, ProjectSource, ServiceStep, UpOptions,
    };
}
