//! `monocore mcp`: sandboxes as tools for agents, over the Model Context Protocol.
//!
//! The server calls the same functions as the command line, on the same state directory, and keeps no
//! state of its own. A [`Policy`] bounds what an agent may ask for.
//!
//! Design: `docs/design/mcp.md`.

mod arguments;
mod context;
mod error;
mod handler;
mod http;
mod images;
mod output;
mod policy;
mod progress;
mod resources;
mod stdio;
mod subscriptions;
mod tools;
mod work;

pub use error::Error;
pub use http::http_router;
pub use policy::{AllowedPath, POLICY_FILE, Policy};
pub use stdio::serve_stdio;

#[doc(hidden)]
pub use stdio::serve_streams;

use monocore_orchestrator::Launcher;

/// The label of sandboxes that were made by an MCP client.
pub const LABEL_MCP: &str = "dev.monocore.mcp";

/// What the server needs of the program that it is a part of.
#[derive(Clone, Debug)]
pub struct McpHost {
    /// Starts sandboxes.
    pub launcher: Launcher,
    /// The program's version.
    pub version: String,
    /// A check before a registry is asked.
    pub before_pull: fn() -> Result<(), monocore_orchestrator::Error>,
}

/// Names and descriptions of all tools, for documentation.
#[must_use]
pub fn tool_names() -> Vec<&'static str> {
    tools::all().iter().map(|tool| tool.name).collect()
}
