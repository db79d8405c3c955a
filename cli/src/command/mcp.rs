//! `mcp`: tools for agents.

use monocore_mcp::{McpHost, Policy, http_router, serve_stdio};
use monocore_orchestrator::{Home, Launcher, this_program};
use monocore_server::{Mounted, ServerOptions, serve_mounted};

use super::args::McpArgs;
use super::{output, serve};

/// Where the protocol is served over HTTP.
const PATH: &str = "/mcp";

pub(super) fn main(args: McpArgs) -> anyhow::Result<()> {
    if args.print_policy {
        return output::print(monocore_mcp::POLICY_FILE);
    }
    let mut policy = args.policy.as_deref().map_or_else(|| Ok(Policy::default()), Policy::read)?;
    args.allow_path.into_iter().try_for_each(|path| policy.allow_path(path))?;
    let launcher = Launcher { home: Home::locate()?, program: this_program().to_owned() };
    let Some(address) = args.http else {
        return Ok(serve_stdio(host(launcher), policy)?);
    };
    let options = ServerOptions {
        listen: Some(address),
        socket: None,
        tls_cert: args.tls_cert,
        tls_key: args.tls_key,
        require_token: args.require_token,
        private: false,
    };
    let mounted = mounted(launcher.clone(), policy, true);
    serve_mounted(launcher, serve::host(), &options, Some(mounted), |places| {
        let lines: String = places.iter().map(|place| format!("listening on {place}{PATH}\n")).collect();
        // A closed standard output keeps nobody from connecting.
        let _ = output::print(&lines);
    })?;
    Ok(())
}

/// The protocol's routes for a server.
pub(super) fn mounted(launcher: Launcher, policy: Policy, alone: bool) -> Mounted {
    Mounted { path: PATH, router: http_router(host(launcher), policy), alone }
}

fn host(launcher: Launcher) -> McpHost {
    McpHost { launcher, version: env!("CARGO_PKG_VERSION").to_owned(), before_pull: serve::before_pull }
}
