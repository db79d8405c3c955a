//! Whether a sandbox is healthy: what is checked, how often, and what came of it.
//!
//! The rules are Docker's. Times are of the monotonic clock, so setting the wall clock makes no
//! sandbox healthy or unhealthy; only the times shown in the report are of the wall clock.

mod check;
mod monitor;
mod probe;
mod report;

pub(crate) use check::HealthCheck;
pub(crate) use monitor::HealthMonitor;
pub use report::{HealthReport, HealthResult, HealthStatus};
