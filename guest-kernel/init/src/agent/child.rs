//! Starting a command: its streams, its process, and why it could not be started.

use std::ffi::CString;

use monocore_protocol::{ByteString, Exec, Purpose, Rlimit, Stdin, Stdio, TermSize, Tool};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    Access, AtFlags, FileType, Gid, Mode, OFlags, Uid, accessat, fchown, mkdir, open, stat, unlink,
};
use rustix::io::Errno;
use rustix::mount::mount_bind;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::thread::CapabilitySet;

use super::slots::Ends;
use super::tools::{self, Layers};
use crate::container::Place;
use crate::environment;
use crate::identity::{self, Identity};
use crate::log::complain;
use crate::setup::System;
use crate::sys::{self, Forked};

/// Exit codes as a shell and Docker use them.
const OURS: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// A command that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: Pid,
    /// What the host is to be connected with.
    pub(crate) streams: Vec<Ends>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// Why a command was not started.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn ours(message: impl Into<String>) -> Self {
        Self { code: OURS, message: message.into() }
    }

    fn system(what: &str, errno: Errno) -> Self {
        Self::ours(format!("{what}: {}", std::io::Error::from(errno)))
    }

    /// Docker's words and codes for a program that cannot be executed.
    fn program(program: &str, errno: Errno, searched: bool) -> Self {
        let code = match errno {
            Errno::NOENT | Errno::NOTDIR => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        let reason = match errno {
            Errno::NOENT if searched => "executable file not found in $PATH".to_owned(),
            Errno::NOENT => "no such file or directory".to_owned(),
            Errno::ACCESS => "permission denied".to_owned(),
            Errno::ISDIR => "is a directory".to_owned(),
            Errno::NOEXEC => "exec format error".to_owned(),
            other => std::io::Error::from(other).to_string(),
        };
        Self { code, message: format!("exec: \"{program}\": {reason}") }
    }
}

/// Everything a child needs, made before the fork.
struct Plan {
    argv: Vec<CString>,
    env: Vec<CString>,
    /// Paths to try, in order.
    candidates: Vec<CString>,
    searched: bool,
    cwd: Vec<u8>,
    make_cwd: bool,
    identity: Identity,
    rlimits: Vec<Rlimit>,
    capabilities: Option<u64>,
    no_new_privileges: bool,
    place: Option<Place>,
    streams: ChildStreams,
    tool: Option<(Tool, Layers)>,
}

/// The child's side of the streams.
enum ChildStreams {
    Pipes([OwnedFd; 3]),
    Terminal(OwnedFd),
}

/// Starts a command.
pub(crate) fn start(exec: &Exec, system: &mut System) -> Result<Started, Failure> {
    let terminal = matches!(exec.stdio, Stdio::Terminal(_));
    let mut identity = identity::resolve(&exec.user).map_err(Failure::ours)?;
    identity.join(&exec.groups).map_err(Failure::ours)?;
    if let Some(tool) = &exec.tool {
        return start_tool(tool, exec, identity, system);
    }
    let env = environment::complete(&exec.env, &system.hostname, &identity.home, terminal);
    let program = exec.argv.first().ok_or_else(|| Failure::ours("no command is given"))?;
    let path = environment::value_of(env.iter().map(Vec::as_slice), b"PATH").unwrap_or_default();
    let (candidates, searched) = candidates(program.as_bytes(), path);
    let (streams, ends, terminal) = make_streams(&exec.stdio, &identity)?;
    if let Some(terminal) = terminal.as_ref().filter(|_| exec.purpose == Purpose::Main) {
        become_console(terminal);
    }
    let place = place(system, exec.is_init && exec.purpose == Purpose::Main)?;
    if place == Some(Place::First) && !matches!(exec.stdio, Stdio::Terminal(_)) {
        // An init would run a login on the kernel's console, which leads nowhere.
        let _ = unlink("/dev/console");
    }
    let plan = Plan {
        argv: strings(exec.argv.iter().map(ByteString::as_bytes))?,
        candidates: strings(candidates.iter().map(Vec::as_slice))?,
        env: strings(env.iter().map(Vec::as_slice))?,
        searched,
        cwd: if exec.cwd.is_empty() { b"/".to_vec() } else { exec.cwd.as_bytes().to_vec() },
        make_cwd: exec.purpose == Purpose::Main,
        identity,
        rlimits: exec.rlimits.clone(),
        capabilities: exec.capabilities,
        no_new_privileges: exec.no_new_privileges,
        place,
        streams,
        tool: None,
    };
    let pid = spawn(plan, &program.to_string(), system)?;
    Ok(Started { pid, streams: ends, terminal })
}

/// Starts work of the agent's own as if it were a command.
fn start_tool(tool: &Tool, exec: &Exec, identity: Identity, system: &mut System) -> Result<Started, Failure> {
    let layers = tools::layers(tool, system).map_err(|error| Failure::ours(error.to_string()))?;
    let (streams, ends, terminal) = make_streams(&exec.stdio, &identity)?;
    let plan = Plan {
        argv: Vec::new(),
        candidates: Vec::new(),
        env: Vec::new(),
        searched: false,
        cwd: b"/".to_vec(),
        make_cwd: false,
        identity,
        rlimits: Vec::new(),
        capabilities: None,
        no_new_privileges: false,
        place: place(system, false)?.map(|_| Place::Tool),
        streams,
        tool: Some((tool.clone(), layers)),
    };
    Ok(Started { pid: spawn(plan, "", system)?, streams: ends, terminal })
}

/// Where the command is started, if this is a machine.
fn place(system: &mut System, is_init: bool) -> Result<Option<Place>, Failure> {
    let place = system.container.as_mut().map(|container| container.place(is_init)).transpose();
    place.map_err(|error| Failure::ours(error.to_string()))
}

fn strings<'a>(all: impl Iterator<Item = &'a [u8]>) -> Result<Vec<CString>, Failure> {
    all.map(|one| {
        CString::new(one).map_err(|_| Failure::ours("an argument or variable contains a zero byte"))
    })
    .collect()
}

/// Where the program may be, and whether that is a search of PATH.
fn candidates(program: &[u8], path: &[u8]) -> (Vec<Vec<u8>>, bool) {
    if program.contains(&b'/') {
        return (vec![program.to_vec()], false);
    }
    if program.is_empty() {
        return (Vec::new(), true);
    }
    let folders = path.split(|byte| *byte == b':');
    let join = |folder: &[u8]| match folder {
        b"" => [b"./", program].concat(),
        folder => [folder, b"/", program].concat(),
    };
    (folders.map(join).collect(), true)
}

fn make_streams(
    stdio: &Stdio,
    identity: &Identity,
) -> Result<(ChildStreams, Vec<Ends>, Option<OwnedFd>), Failure> {
    let made = match stdio {
        Stdio::Pipes { stdin } => make_pipes(*stdin, identity).map(|(child, ends)| (child, ends, None)),
        Stdio::Terminal(size) => make_terminal(*size, identity),
        Stdio::Null => no_streams().map(|child| (child, Vec::new(), None)),
    };
    made.map_err(|errno| Failure::system("cannot make the standard streams", errno))
}

fn make_pipes(stdin: Stdin, identity: &Identity) -> Result<(ChildStreams, Vec<Ends>), Errno> {
    let mut ends = Vec::with_capacity(3);
    let input = match stdin {
        Stdin::Empty => open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?,
        Stdin::Stream => {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            own(&theirs, identity)?;
            ends.push(Ends::Stdin(unblocked(ours)?));
            theirs
        }
    };
    let (ours, output) = pipe_with(PipeFlags::CLOEXEC)?;
    own(&output, identity)?;
    ends.push(Ends::Stdout(unblocked(ours)?));
    let (ours, errors) = pipe_with(PipeFlags::CLOEXEC)?;
    own(&errors, identity)?;
    ends.push(Ends::Stderr(unblocked(ours)?));
    Ok((ChildStreams::Pipes([input, output, errors]), ends))
}

fn no_streams() -> Result<ChildStreams, Errno> {
    let null = || open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    Ok(ChildStreams::Pipes([null()?, null()?, null()?]))
}

fn make_terminal(
    size: TermSize,
    identity: &Identity,
) -> Result<(ChildStreams, Vec<Ends>, Option<OwnedFd>), Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = unblocked(openpt(flags)?)?;
    unlockpt(&ours)?;
    resize(&ours, size)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    own(&theirs, identity)?;
    let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let ends = vec![Ends::Terminal { input: copy(&ours)?, output: copy(&ours)? }];
    Ok((ChildStreams::Terminal(theirs), ends, Some(ours)))
}

/// Puts the main command's terminal where programs look for the machine's own, as Docker does.
fn become_console(ours: &OwnedFd) {
    let bound = ptsname(ours, Vec::new()).and_then(|theirs| mount_bind(theirs, c"/dev/console"));
    if let Err(errno) = bound {
        complain(&format!("/dev/console is not the terminal: {}", std::io::Error::from(errno)));
    }
}

/// Sets the size of a terminal.
pub(crate) fn resize(terminal: &OwnedFd, size: TermSize) -> Result<(), Errno> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size)
}

fn unblocked(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

/// A command that is not root must be able to open `/dev/stdout`.
fn own(fd: &OwnedFd, identity: &Identity) -> Result<(), Errno> {
    match identity.uid {
        0 => Ok(()),
        uid => fchown(fd, Some(Uid::from_raw(uid)), None),
    }
}

/// Forks; the child reports through a pipe that a successful `execve` closes.
fn spawn(plan: Plan, program: &str, system: &mut System) -> Result<Pid, Failure> {
    let failed = |errno| Failure::system("cannot start a process", errno);
    let (report, reporter) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let inside = system.container.as_mut().zip(plan.place);
    let forked = match &inside {
        Some((container, place)) => container.fork(*place),
        None => sys::fork(),
    };
    let is_inside = inside.is_some();
    let not_forked = |errno| match errno {
        // Nothing starts in a namespace whose process 1 has ended (pid_namespaces(7)).
        Errno::NOMEM if is_inside => Failure::ours(
            "cannot start a process: the sandbox's command has ended, or its memory is full".to_owned(),
        ),
        errno => failed(errno),
    };
    let pid = match forked.map_err(not_forked)? {
        Forked::Child if plan.tool.is_some() => run_tool(plan, reporter),
        Forked::Child => {
            let entered = inside.as_ref().map_or(Ok(()), |(container, place)| container.enter(*place));
            let failure = match entered {
                Ok(()) => become_command(&plan, program),
                Err(error) => Failure::ours(error.to_string()),
            };
            let mut text = vec![failure.code];
            text.extend_from_slice(failure.message.as_bytes());
            // Less than a pipe's atomic size; if even that fails there is nobody to tell.
            let _ = rustix::io::write(&reporter, &text[..text.len().min(4096)]);
            sys::exit(i32::from(failure.code))
        }
        Forked::Parent(pid) => pid,
    };
    let is_first = plan.place == Some(Place::First);
    drop((reporter, plan));
    let mut text = [0; 4096];
    let count = loop {
        match rustix::io::read(&report, &mut text) {
            Err(Errno::INTR) => {}
            other => break other.unwrap_or(0),
        }
    };
    match text[..count].split_first() {
        None => {
            if let Some((container, _)) = inside.filter(|_| is_first) {
                // One that has ended already takes the guest along.
                let _ = container.adopt(pid, false);
            }
            Ok(pid)
        }
        Some((code, message)) => {
            Err(Failure { code: *code, message: String::from_utf8_lossy(message).into_owned() })
        }
    }
}

/// What the child of a tool does.
fn run_tool(plan: Plan, reporter: OwnedFd) -> ! {
    let prepared = prepare(&plan);
    let Plan { tool: Some((tool, layers)), .. } = plan else { sys::exit(i32::from(OURS)) };
    if let Err((what, errno)) = prepared {
        let text = [&[OURS], Failure::system(what, errno).message.as_bytes()].concat();
        // Less than a pipe's atomic size; if even that fails there is nobody to tell.
        let _ = rustix::io::write(&reporter, &text);
        sys::exit(i32::from(OURS));
    }
    // The parent learns that the work has begun, and nothing of the agent's is held open by it.
    sys::close_all_but(&layers.descriptors());
    // Not the agent's procfs.
    let _ = rustix::process::chdir("/");
    // A reader that goes away is told of by the write.
    sys::ignore_broken_pipes();
    sys::exit(i32::from(tools::run(&tool, &layers)))
}

/// What the child does; returns only what went wrong.
fn become_command(plan: &Plan, program: &str) -> Failure {
    if let Err((what, errno)) = prepare(plan) {
        return Failure::system(what, errno);
    }
    let cwd = String::from_utf8_lossy(&plan.cwd);
    let entered = rustix::process::chdir(&plan.cwd[..]);
    if let Err(errno) = limit_rights(plan) {
        return Failure::system("cannot limit capabilities", errno);
    }
    if let Err((what, errno)) = change_identity(&plan.identity) {
        return Failure::system(what, errno);
    }
    // A directory that only root, or only the user, may enter is entered all the same.
    if let Err(errno) = entered.or_else(|_| rustix::process::chdir(&plan.cwd[..])) {
        let code = if errno == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE };
        return Failure {
            code,
            ..Failure::system(&format!("cannot enter the working directory {cwd}"), errno)
        };
    }
    Failure::program(program, execute(plan), plan.searched)
}

fn prepare(plan: &Plan) -> Result<(), (&'static str, Errno)> {
    rustix::process::setsid().map_err(|errno| ("cannot begin a session", errno))?;
    let streams = match &plan.streams {
        ChildStreams::Pipes(pipes) => pipes.each_ref(),
        ChildStreams::Terminal(terminal) => {
            rustix::process::ioctl_tiocsctty(terminal)
                .map_err(|errno| ("cannot take the terminal", errno))?;
            [terminal; 3]
        }
    };
    let [input, output, errors] = streams;
    rustix::stdio::dup2_stdin(input)
        .and_then(|()| rustix::stdio::dup2_stdout(output))
        .and_then(|()| rustix::stdio::dup2_stderr(errors))
        .map_err(|errno| ("cannot redirect the standard streams", errno))?;
    debug_assert!(input.as_raw_fd() > 2, "the standard streams are always taken");
    for limit in &plan.rlimits {
        sys::set_limit(limit).map_err(|errno| ("cannot set a limit", errno))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if plan.make_cwd {
        make_folder(&plan.cwd).map_err(|errno| ("cannot make the working directory", errno))?;
    }
    sys::restore_signals();
    Ok(())
}

fn make_folder(path: &[u8]) -> Result<(), Errno> {
    if stat(path).is_ok() {
        return Ok(());
    }
    let ends = (1..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]);
    for end in ends {
        match mkdir(&path[..end], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes capabilities out of reach: root's programs start with those of the bounding set, others with none.
fn limit_rights(plan: &Plan) -> Result<(), Errno> {
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true)?;
    }
    let Some(kept) = plan.capabilities else { return Ok(()) };
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept & (1 << number) != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn change_identity(identity: &Identity) -> Result<(), (&'static str, Errno)> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    // The process has one thread, so what changes a thread changes the process.
    rustix::thread::set_thread_groups(&groups)
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|errno| ("cannot become the user", errno))
}

/// Tries the candidates. In a search one that is no executable file is passed over, as if it were not there.
fn execute(plan: &Plan) -> Errno {
    for candidate in &plan.candidates {
        let errno = sys::execute(candidate, &plan.argv, &plan.env);
        let file = stat(candidate.as_c_str()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if !plan.searched {
            return match file {
                Ok(FileType::Directory) => Errno::ISDIR,
                _ => errno,
            };
        }
        let executable = file == Ok(FileType::RegularFile)
            && accessat(rustix::fs::CWD, candidate.as_c_str(), Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        if executable {
            return errno;
        }
    }
    Errno::NOENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_searched_only_without_a_slash() {
        assert_eq!(candidates(b"./x", b"/bin"), (vec![b"./x".to_vec()], false));
        let (found, searched) = candidates(b"x", b"/bin::/usr/bin");
        assert_eq!(found, [b"/bin/x".to_vec(), b"./x".to_vec(), b"/usr/bin/x".to_vec()]);
        assert!(searched);
        assert_eq!(candidates(b"", b"/bin"), (vec![], true));
    }

    #[test]
    fn failures_have_dockers_codes() {
        assert_eq!(Failure::program("x", Errno::NOENT, true).code, 127);
        assert_eq!(Failure::program("x", Errno::ACCESS, false).code, 126);
        assert_eq!(Failure::program("x", Errno::ISDIR, false).code, 126);
        assert_eq!(Failure::program("x", Errno::NOEXEC, true).code, 126);
    }
}
