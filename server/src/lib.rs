//! `monocore serve`: the REST API, streams and the dashboard.
//!
//! The server keeps no state. It is a client of the same functions and control sockets as the
//! command line, so sandboxes do not notice when it ends, and it finds every sandbox when it starts
//! again.
//!
//! Design: `docs/design/server.md`.

mod access;
mod api_server;
mod body;
mod connection;
mod convert;
mod error;
mod guard;
mod limit;
mod listen;
mod openapi;
mod routes;
mod serve;
mod stream;
mod sys;
mod tls;
pub mod tokens;
mod unit;
mod work;

pub use access::Scope;
pub use api_server::ServerHost;
pub use error::Error;
pub use openapi::document;
pub use routes::Mounted;
pub use serve::{ServerOptions, serve, serve_mounted};
pub use unit::{UNIT, install_unit, unit_text};

#[doc(hidden)]
pub use serve::{run, run_mounted};
