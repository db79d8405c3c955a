//! `serve`: the REST API and the dashboard.

use std::path::PathBuf;

use monocore_api::{HostCheck, HostReport, Verdict, VersionInfo};
use monocore_mcp::Policy;
use monocore_orchestrator::{Error, Home, Launcher, this_program};
use monocore_server::{ServerHost, ServerOptions, install_unit, serve_mounted, unit_text};

use super::args::{RATE_LIMIT, ServeArgs};
use super::{doctor, mcp, output, store};

/// The Unix socket, in the server's part of the state directory.
const SOCKET: &str = "monocore.sock";
/// Around the process ID in the name of a private server's socket.
const PRIVATE_SOCKET: (&str, &str) = ("private-", ".sock");

pub(super) fn main(args: ServeArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    if args.print_unit || args.install_unit {
        return unit(&args);
    }
    let socket = match args.private {
        true => {
            remove_stale_sockets(&home);
            format!("{}{}{}", PRIVATE_SOCKET.0, std::process::id(), PRIVATE_SOCKET.1)
        }
        false => SOCKET.to_owned(),
    };
    let has_tcp = !args.no_tcp && !args.private;
    let options = ServerOptions {
        listen: has_tcp.then(|| args.listen.unwrap_or(ServerOptions::loopback(args.port))),
        socket: Some(args.socket.unwrap_or_else(|| home.server().join(socket))),
        tls_cert: args.tls_cert,
        tls_key: args.tls_key,
        require_token: args.require_token,
        private: args.private,
        rate_limit: args.rate_limit,
    };
    let launcher = Launcher { home, program: this_program().to_owned() };
    let policy = args.mcp_policy.as_deref().map_or_else(|| Ok(Policy::default()), Policy::read)?;
    let mounted = args.mcp.then(|| mcp::mounted(launcher.clone(), policy, false));
    serve_mounted(launcher, host(), &options, mounted, |places| {
        let lines: String = places.iter().map(|place| format!("listening on {place}\n")).collect();
        // A closed standard output keeps nobody from connecting.
        let _ = output::print(&lines);
    })?;
    Ok(())
}

/// Removes the sockets of private servers that were killed. One whose process ID is in use again stays.
fn remove_stale_sockets(home: &Home) {
    let Ok(entries) = std::fs::read_dir(home.server()) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let pid = path.file_name().and_then(|name| name.to_str()).and_then(private_server);
        if pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
            // Another server may have removed it meanwhile.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The process that made the socket of this name.
fn private_server(name: &str) -> Option<rustix::process::Pid> {
    let pid = name.strip_prefix(PRIVATE_SOCKET.0)?.strip_suffix(PRIVATE_SOCKET.1)?;
    rustix::process::Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?)
}

/// What a server is told of this program.
pub(super) fn host() -> ServerHost {
    ServerHost { version: version(), report, before_pull }
}

pub(super) fn before_pull() -> Result<(), Error> {
    store::can_run()
}

fn version() -> VersionInfo {
    VersionInfo {
        monocore: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        kernel: monocore_guest::kernel().ok().map(|kernel| kernel.id().to_owned()),
        init: monocore_guest::initramfs_id().ok().map(str::to_owned),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

fn report() -> HostReport {
    let checks = doctor::checks().into_iter().map(|check| HostCheck {
        name: check.name.to_owned(),
        verdict: match check.verdict {
            doctor::Verdict::Good => Verdict::Good,
            doctor::Verdict::Warning => Verdict::Warning,
            doctor::Verdict::Bad => Verdict::Bad,
        },
        detail: check.detail,
    });
    let checks: Vec<_> = checks.collect();
    HostReport { can_run: checks.iter().all(|check| check.verdict != Verdict::Bad), checks }
}

/// The unit's command is this program by its path, with the options given.
fn unit(args: &ServeArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let mut words = Vec::new();
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    match (&args.listen, args.no_tcp) {
        (_, true) => words.push("--no-tcp".to_owned()),
        (Some(address), _) => option("--listen", address.to_string()),
        (None, _) => option("--port", args.port.to_string()),
    }
    for (name, path) in [
        ("--socket", &args.socket),
        ("--tls-cert", &args.tls_cert),
        ("--tls-key", &args.tls_key),
        ("--mcp-policy", &args.mcp_policy),
    ] {
        if let Some(path) = path {
            words.extend([name.to_owned(), absolute(path)?]);
        }
    }
    if args.rate_limit != RATE_LIMIT {
        words.extend(["--rate-limit".to_owned(), args.rate_limit.to_string()]);
    }
    let flags = [("--require-token", args.require_token), ("--mcp", args.mcp)];
    words.extend(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| (*flag).to_owned()));
    if args.print_unit {
        return output::print(&unit_text(&program, &words));
    }
    let path = install_unit(&program, &words)?;
    output::print(&format!(
        "{} written; start it with: systemctl --user enable --now monocore-serve\n",
        path.display()
    ))
}

fn absolute(path: &PathBuf) -> anyhow::Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_servers_that_were_killed_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        std::fs::create_dir(home.server()).unwrap();
        // A process that has ended, and its parent has been told.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let names = [
            (format!("private-{}.sock", ended.id()), false),
            (format!("private-{}.sock", std::process::id()), true),
            ("private-0.sock".to_owned(), true),
            ("private-x.sock".to_owned(), true),
            (SOCKET.to_owned(), true),
        ];
        for (name, _) in &names {
            std::fs::write(home.server().join(name), "").unwrap();
        }
        remove_stale_sockets(&home);
        for (name, stays) in names {
            assert_eq!(home.server().join(&name).exists(), stays, "{name}");
        }
    }
}
