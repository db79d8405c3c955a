//! `cargo xtask testbed -- CMD…`: a machine with AMD-V, emulated in software, that runs CMD over this machine's files.
//!
//! CMD sees the caller's environment and folder, a real `/dev/kvm`, fresh `/tmp`, `/run` and `/dev/shm`, no network but
//! loopback, and no input. Its output streams stay apart and are passed on while it runs; its exit status is ours.
//! As many testbeds run at a time as there are CPUs: each emulates on one thread.

mod bzimage;
mod image;
mod job;
mod machine;

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::project;
pub(crate) use bzimage::vmlinux;
pub(crate) use image::{kernel_tree, only_entry};
pub(crate) use machine::Outcome;

/// What `cargo xtask testbed` is asked for.
#[derive(Args)]
pub(crate) struct TestbedArgs {
    /// Count instructions: 1 virtual millisecond is 1 million instructions.
    #[arg(long)]
    icount: bool,
    /// Memory of the machine, in MiB.
    #[arg(long, default_value_t = 3072)]
    memory: u32,
    /// After so many seconds the machine is ended, with status 124.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
    /// More for the command line of the machine's kernel, as `init_on_alloc=0`.
    #[arg(long, default_value = "")]
    append: String,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A run of the testbed's machine.
pub(crate) struct Testbed {
    /// Whether the clock counts instructions.
    pub(crate) icount: bool,
    /// Memory in MiB.
    pub(crate) memory_mib: u32,
    /// How long the whole run may take.
    pub(crate) timeout: Duration,
    /// More for the command line of the machine's kernel.
    pub(crate) append: String,
}

impl Default for Testbed {
    fn default() -> Self {
        Self { icount: false, memory_mib: 3072, timeout: Duration::from_secs(1800), append: String::new() }
    }
}

/// Whether this machine's own KVM runs an unmodified kernel.
///
/// A `/dev/kvm` without AMD-V or VT-x in the CPU is a software KVM: there an unmodified kernel spins for ever.
pub(crate) fn own_kvm_works() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let virtualizes = flags.split_whitespace().any(|flag| flag == "svm" || flag == "vmx");
    virtualizes && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// The command of this name: its exit status is the job's, 124 if it ran out of time.
pub(crate) fn run(args: &TestbedArgs) -> Result<ExitCode> {
    let testbed = Testbed {
        icount: args.icount,
        memory_mib: args.memory,
        timeout: Duration::from_secs(args.timeout),
        append: args.append.clone(),
    };
    match testbed.run(&args.command)? {
        Outcome::Exited(status) => Ok(ExitCode::from(status)),
        Outcome::TimedOut => {
            eprintln!("the testbed was ended after {} s", args.timeout);
            Ok(ExitCode::from(124))
        }
    }
}

impl Testbed {
    /// Runs `argv` with this process's environment, folder and output streams.
    ///
    /// # Errors
    /// If the machine cannot be made or started, or ends without saying how the job ended; the error shows the end of
    /// the machine's console then.
    pub(crate) fn run(&self, argv: &[OsString]) -> Result<Outcome> {
        let image = image::image()?;
        let dir = project::cache_dir("l1")?;
        let (_place, number) = place(&dir)?;
        let job = JobFile::create(&dir, number, argv)?;
        machine::run(self, &image, &job.0, &dir.join(format!("console-{number}.log")))
    }
}

/// The job's script, removed when the run ends, and beside it the list of the folders that it needs.
struct JobFile(PathBuf);

impl JobFile {
    fn create(dir: &Path, number: u32, argv: &[OsString]) -> Result<Self> {
        let path = dir.join(format!("job-{}-{number}.sh", std::process::id()));
        let cwd = std::env::current_dir().context("the current folder is gone")?;
        fs::write(&path, job::script(argv, &cwd, &job::environment()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let wanted = [project::root(), project::target_dir(), dir.to_path_buf(), project::cache_base()?, cwd];
        let list = Self::list(&path);
        fs::write(&list, job::shown(&wanted)).with_context(|| format!("cannot write {}", list.display()))?;
        Ok(Self(path))
    }

    fn list(path: &Path) -> PathBuf {
        let mut list = path.as_os_str().to_owned();
        list.push(".shown");
        list.into()
    }
}

impl Drop for JobFile {
    fn drop(&mut self) {
        // It lies in a cache: left behind it does no harm.
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(Self::list(&self.0));
    }
}

/// How many testbeds run at a time.
pub(crate) fn places() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// Takes one of the places for testbeds, and says which; it is given back with the file.
fn place(dir: &Path) -> Result<(File, u32)> {
    let places = places();
    let open = |number: u32| {
        let path = dir.join(format!("lock-{number}"));
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))
    };
    for number in 0..places {
        let file = open(number)?;
        match file.try_lock() {
            Ok(()) => return Ok((file, number)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(locking(error)),
        }
    }
    eprintln!("waiting for another testbed to end");
    let number = std::process::id() % places;
    let file = open(number)?;
    file.lock().map_err(locking)?;
    Ok((file, number))
}

fn locking(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot take the testbed's lock")
}
