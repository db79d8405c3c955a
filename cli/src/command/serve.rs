//! `serve`: the REST API and the dashboard.

use std::path::PathBuf;

use monocore_api::{HostCheck, HostReport, Verdict, VersionInfo};
use monocore_orchestrator::{Error, Home, Launcher, this_program};
use monocore_server::{ServerHost, ServerOptions, install_unit, serve, unit_text};

use super::args::ServeArgs;
use super::{doctor, output, store};

/// The Unix socket, in the server's part of the state directory.
const SOCKET: &str = "monocore.sock";

pub(super) fn main(args: ServeArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    if args.print_unit || args.install_unit {
        return unit(&args);
    }
    let socket = match args.private {
        true => format!("private-{}.sock", std::process::id()),
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
    };
    let host = ServerHost { version: version(), report, before_pull };
    let launcher = Launcher { home, program: this_program().to_owned() };
    serve(launcher, host, &options, |places| {
        let lines: String = places.iter().map(|place| format!("listening on {place}\n")).collect();
        // A closed standard output keeps nobody from connecting.
        let _ = output::print(&lines);
    })?;
    Ok(())
}

fn before_pull() -> Result<(), Error> {
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
    for (name, path) in
        [("--socket", &args.socket), ("--tls-cert", &args.tls_cert), ("--tls-key", &args.tls_key)]
    {
        if let Some(path) = path {
            words.extend([name.to_owned(), absolute(path)?]);
        }
    }
    if args.require_token {
        words.push("--require-token".to_owned());
    }
    if args.print_unit {
        return output::print(&unit_text(&program, &words));
    }
    let path = install_unit(&program, &words)?;
    output::print(&format!(
        "{} written; start it with: systemctl --user enable --now monocore\n",
        path.display()
    ))
}

fn absolute(path: &PathBuf) -> anyhow::Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}
