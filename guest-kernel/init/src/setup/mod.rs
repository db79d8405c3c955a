//! Becoming what [`Configure`] says: root, mounts, names, clock.
//!
//! Order matters: what needs paths of the initramfs (disks, the overlay's layers, generated files) comes before the
//! new root covers it; what an image can bend with symbolic links (every mount's target) comes after, when links
//! resolve beneath the new root.

mod cgroup;
mod copy;
mod disks;
mod files;
pub(crate) mod mounting;
mod mounts;
mod network;
mod overlay;
mod root;
mod secrets;
mod shares;
mod sockets;
mod standard;
mod target;

use monocore_protocol::{Configure, Root};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{ClockId, Timespec, clock_settime};

pub(crate) use cgroup::Groups;
pub(crate) use mounts::{make_sockets, mount, unmount};
pub(crate) use network::set_address;
pub(crate) use root::Scratch;
pub(crate) use shares::Shares;
pub(crate) use sockets::{Listening, Sockets, address};

use crate::container::Container;
use crate::early::Early;
use crate::error::{Doing, Error};
use crate::{log, sys};

/// What of the set-up is needed while the guest runs.
#[derive(Debug, Default)]
pub(crate) struct System {
    pub(crate) hostname: Vec<u8>,
    pub(crate) shares: Shares,
    pub(crate) sockets: Sockets,
    /// What commands run in; nothing outside a machine.
    pub(crate) container: Option<Container>,
    /// Where writes go that the root does not take.
    pub(crate) scratch: Scratch,
}

impl System {
    /// The file that tells of memory used up by commands; once.
    pub(crate) fn take_memory_events(&mut self) -> Option<OwnedFd> {
        self.container.as_mut()?.take_memory_events()
    }
}

/// Makes this machine what `configure` says.
pub(crate) fn apply(configure: &Configure, early: &Early) -> Result<System, Error> {
    let mut system = System { hostname: configure.hostname.clone().into_bytes(), ..System::default() };
    if !configure.entropy.is_empty() {
        sys::add_entropy(configure.entropy.as_bytes()).doing("seed", "the random number generator")?;
    }
    if let Some(now) = configure.unix_time_ns {
        set_time(now)?;
    }
    rustix::system::sethostname(&system.hostname).doing("set the host name to", &configure.hostname)?;
    if !configure.domainname.is_empty() {
        rustix::system::setdomainname(configure.domainname.as_bytes())
            .doing("set the domain name to", &configure.domainname)?;
    }
    if configure.root == Root::Current {
        return Ok(system);
    }
    system.shares = Shares::new()?;
    system.sockets = Sockets::new()?;
    let read_only = root::enter(&configure.root, &mut system)?;
    let generated = files::generate(configure)?;
    let groups = Groups::make(configure)?;
    root::switch()?;
    // The agent's own procfs: `/proc` will be that of the commands.
    rustix::process::fchdir(&early.proc).doing("enter", "the agent's procfs")?;
    standard::mount(early, configure.shm_bytes)?;
    groups.show()?;
    system.container = Some(Container::new(groups)?);
    for wanted in &configure.mounts {
        mounts::mount(wanted, &mut system)?;
    }
    files::place(generated, &configure.mounts);
    secrets::place(configure)?;
    if read_only {
        // Docker makes it before it closes the root. Where it cannot be made, the command's start says why.
        let _ = target::ensure(configure.workdir.as_bytes(), target::Kind::Directory);
        mounting::make_read_only(b"/")?;
    }
    if let Err(error) = sys::raise_loopback() {
        log::complain(&format!("no loopback interface: {error}"));
    }
    if let Some(interface) = &configure.interface {
        network::configure(interface)?;
    }
    for (name, value) in ORDINARY_USERS {
        if let Err(error) = set_kernel_parameter(name, value) {
            log::complain(&format!("ordinary users have less of the network: {error}"));
        }
    }
    for (name, value) in &configure.sysctls {
        set_kernel_parameter(name, value)?;
    }
    Ok(system)
}

/// A path of what is open, below the agent's procfs, which is its working directory.
pub(crate) fn path_of_open(fd: &impl AsRawFd) -> String {
    format!("self/fd/{}", fd.as_raw_fd())
}

/// What Docker gives ordinary users: they listen below port 1024, and ping.
const ORDINARY_USERS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// Sets the wall clock, nanoseconds since 1970.
pub(crate) fn set_time(unix_time_ns: u64) -> Result<(), Error> {
    let time = Timespec {
        tv_sec: i64::try_from(unix_time_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(unix_time_ns % 1_000_000_000).unwrap_or(0),
    };
    clock_settime(ClockId::Realtime, time).doing("set", "the clock")
}

fn set_kernel_parameter(name: &str, value: &str) -> Result<(), Error> {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if name.contains("..") || name.starts_with('/') || !name.bytes().all(sane) {
        return Err(Error::Refused(format!("{name}: not the name of a kernel parameter")));
    }
    // Below the agent's procfs.
    let path = format!("sys/{}", name.replace('.', "/"));
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .and_then(|file| rustix::io::write(file, value.as_bytes()))
        .doing("set the kernel parameter", name)
        .map(drop)
}
