//! The server's life: listen, serve, end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use monocore_orchestrator::Launcher;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::api_server::{ApiServer, LONG_WORK, SHORT_WORK, ServerHost};
use crate::connection::Life;
use crate::listen::Listener;
use crate::routes::Mounted;
use crate::{Error, connection, routes, sys, tls, tokens};

/// How long requests may go on after the server was told to end.
const ENDING_TIME: Duration = Duration::from_secs(10);
/// The same where the server's sandboxes are removed with it.
const PRIVATE_ENDING_TIME: Duration = Duration::from_secs(60);

/// Where to listen, and how.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The TCP address; nothing for none. Any but a loopback address needs TLS and a token.
    pub listen: Option<SocketAddr>,
    /// The Unix socket; nothing for none.
    pub socket: Option<PathBuf>,
    /// A PEM certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Loopback connections need a token as well.
    pub require_token: bool,
    /// The server is for the program that started it: it ends when standard input does, and leased
    /// sandboxes end with it. SIGINT and SIGHUP, which a terminal sends to both, are left to that
    /// program.
    pub private: bool,
    /// Requests a second for each client from the network, and for each token; 0 for any number.
    pub rate_limit: u32,
}

impl ServerOptions {
    /// Loopback at this port.
    #[must_use]
    pub fn loopback(port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }
}

/// Serves until SIGINT or SIGTERM, a private server until the end of its input. `ready` is told the places that are listened on. Sandboxes go on
/// afterwards.
///
/// # Errors
/// A place cannot be listened on, or what it needs is missing.
pub fn serve(
    launcher: Launcher,
    host: ServerHost,
    options: &ServerOptions,
    ready: impl FnOnce(&[String]),
) -> Result<(), Error> {
    serve_mounted(launcher, host, options, None, ready)
}

/// As [`serve`], with routes of another crate.
///
/// # Errors
/// As [`serve`].
pub fn serve_mounted(
    launcher: Launcher,
    host: ServerHost,
    options: &ServerOptions,
    mounted: Option<Mounted>,
    ready: impl FnOnce(&[String]),
) -> Result<(), Error> {
    launcher.home.create()?;
    let inherited = sys::inherited_sockets();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(SHORT_WORK + LONG_WORK + 64)
        .thread_keep_alive(Duration::from_secs(10))
        .build()
        .map_err(Error::Runtime)?;
    let served = runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
        if options.private {
            // Caught, so that it does not end the server.
            let _hung_up = signal(SignalKind::hangup()).map_err(Error::Runtime)?;
            let mut input_ended = input_ended();
            let client_gone = async move || {
                tokio::select! {
                    _ = &mut input_ended => {}
                    _ = terminated.recv() => {}
                }
            };
            return run_mounted(launcher, host, options, mounted, inherited, ready, client_gone).await;
        }
        let signalled = async move || {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        };
        run_mounted(launcher, host, options, mounted, inherited, ready, signalled).await
    });
    // Work that still goes on depends on nobody.
    runtime.shutdown_background();
    served
}

/// Serves until `stop` completes; it is called once more while requests are brought to their end,
/// to cut that short.
///
/// # Errors
/// As [`serve`].
#[doc(hidden)]
pub async fn run(
    launcher: Launcher,
    host: ServerHost,
    options: &ServerOptions,
    inherited: Vec<OwnedFd>,
    ready: impl FnOnce(&[String]),
    stop: impl AsyncFnMut(),
) -> Result<(), Error> {
    run_mounted(launcher, host, options, None, inherited, ready, stop).await
}

/// As [`run`], with routes of another crate.
///
/// # Errors
/// As [`serve`].
#[doc(hidden)]
pub async fn run_mounted(
    launcher: Launcher,
    host: ServerHost,
    options: &ServerOptions,
    mounted: Option<Mounted>,
    inherited: Vec<OwnedFd>,
    ready: impl FnOnce(&[String]),
    mut stop: impl AsyncFnMut(),
) -> Result<(), Error> {
    let (end, ending) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel(1);
    let context = ApiServer::new(launcher, host, ending, alive.downgrade(), options);
    let (listeners, acceptor) = listeners(&context, options, inherited).await?;
    let places: Vec<String> = listeners.iter().map(|(_, place)| place.clone()).collect();
    let life = Life { ending: context.ending.clone(), connections: connection::allowed(), alive };
    let router = routes::router(context, mounted);
    let mut accepting = JoinSet::new();
    for (listener, _) in listeners {
        // The Unix socket is this user's alone: no TLS.
        let tls = acceptor.clone().filter(|_| listener.address().is_some());
        accepting.spawn(connection::serve(listener, router.clone(), tls, life.clone()));
    }
    ready(&places);
    stop().await;
    tracing::info!("the server ends; sandboxes go on");
    accepting.shutdown().await;
    // Nobody may be listening any more.
    let _ = end.send(true);
    drop(life);
    let ending_time = if options.private { PRIVATE_ENDING_TIME } else { ENDING_TIME };
    // The input of a private server has ended for good: only time cuts this short.
    let mut hurried = async || if options.private { std::future::pending().await } else { stop().await };
    tokio::select! {
        _ = all_gone.recv() => {}
        () = tokio::time::sleep(ending_time) => {}
        () = hurried() => {}
    }
    Ok(())
}

/// Completes at the end of standard input, or where it cannot be read.
fn input_ended() -> oneshot::Receiver<()> {
    let (told, ended) = oneshot::channel();
    // A thread that waits for input cannot be told to end; the process ends with it.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = told.send(());
    });
    ended
}

type Listeners = Vec<(Listener, String)>;

async fn listeners(
    context: &ApiServer,
    options: &ServerOptions,
    inherited: Vec<OwnedFd>,
) -> Result<(Listeners, Option<tokio_rustls::TlsAcceptor>), Error> {
    let acceptor = match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key)?),
        _ => None,
    };
    let mut listeners = Vec::new();
    for socket in inherited {
        listeners.push((Listener::inherited(socket)?, "an inherited socket".to_owned()));
    }
    if listeners.is_empty() {
        if let Some(path) = &options.socket {
            listeners.push((Listener::unix(path)?, format!("unix:{}", path.display())));
        }
        if let Some(address) = options.listen {
            // Judged before anybody can connect.
            judge(context, address, acceptor.is_some())?;
            let listener = Listener::tcp(address).await?;
            let scheme = if acceptor.is_some() { "https" } else { "http" };
            let place = listener.address().unwrap_or(address);
            listeners.push((listener, format!("{scheme}://{place}")));
        }
    }
    for (listener, _) in &listeners {
        if let Some(address) = listener.address() {
            judge(context, address, acceptor.is_some())?;
        }
    }
    Ok((listeners, acceptor))
}

/// Whoever can reach an address other than loopback is on the network: TLS and tokens.
fn judge(context: &ApiServer, address: SocketAddr, has_tls: bool) -> Result<(), Error> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    if !has_tls {
        return Err(Error::NeedsTls(address));
    }
    if tokens::list(&context.home)?.is_empty() {
        return Err(Error::NeedsToken(address));
    }
    Ok(())
}
