//! PID 1 and agent of a guest.
//!
//! Life: early mounts; dial the host's vsock port; become what [`Configure`](monocore_protocol::Configure) says
//! (`setup`); then serve requests (`agent`) until the machine ends. One thread and one epoll loop; what may take
//! long (copying files, writing everything down) is done by a forked child. Trusted: the kernel. Not trusted: the
//! commands it runs and the image's files (read with bounds); the host's frames are bounded and checked too.
//!
//! It must not end: an end of PID 1 is a kernel panic. Whatever a request gets wrong is answered, not fatal. A bug
//! that panics writes its text to the kernel's log, from where the panic that follows carries it to the user.

mod agent;
mod container;
mod early;
mod environment;
mod error;
mod identity;
mod log;
mod setup;
mod sys;

pub use error::Error;

/// Runs as PID 1; or, as any other process, as an agent that configures nothing and whose host listens at the Unix
/// socket named by `--socket PATH` (to try the agent without a machine). Returns the exit code.
pub fn main(arguments: &[String]) -> i32 {
    log::install_panic_hook();
    let result = match arguments {
        [_, flag, path] if flag == "--socket" && !is_pid1() => agent::serve_socket(path),
        _ if is_pid1() => agent::serve_machine(),
        _ => Err(Error::Refused("usage: monocore-init --socket PATH; without it only as PID 1".to_owned())),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            log::complain(&error.to_string());
            1
        }
    }
}

fn is_pid1() -> bool {
    rustix::process::getpid() == rustix::process::Pid::INIT
}
