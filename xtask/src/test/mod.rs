//! `cargo xtask test`: everything that is tested, in one go.
//!
//! Unit tests and what needs no KVM run here. What needs KVM runs in one boot of each of two testbeds: the integration tests of
//! `monocore-tests` except those named `host_…` or `vhost_user…`, and those named `kvm…` of any other crate. A test
//! finds the binary in `MONOCORE_TEST_BINARY`.

mod inside;
mod tally;
mod targets;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build;
use crate::packages;
use crate::postgres;
use crate::process::{read_text, step};
use crate::project;
use crate::roots;
use crate::sdk;
use crate::space;
use crate::testbed::{self, Outcome, Testbed};
pub(crate) use inside::{InsideArgs, run as run_inside};
use tally::Tally;
use targets::{Place, TestTarget};

/// Where tests look for the binary.
const BINARY: &str = "MONOCORE_TEST_BINARY";

/// The variable that asks for long tests.
const LONG_TESTS: &str = "MONOCORE_TEST_LONG";

/// Where tests look for the state directory with the images of whole systems.
const ROOTS: &str = "MONOCORE_TEST_ROOTS";

/// More testbeds than this are not worth their boots.
const MOST_TESTBEDS: u64 = 2;

/// The test programs that take longest, the longest first.
const LONG: [&str; 5] = ["kept-", "net-", "run-", "sdk-", "project-"];

/// How long all tests in a testbed together may take.
const TESTBED_TIMEOUT: Duration = Duration::from_secs(65 * 60);

/// What `cargo xtask test` is asked for.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only what runs on this machine, without the testbed.
    #[arg(long, conflicts_with = "only_testbed")]
    only_host: bool,
    /// Only what runs in the testbed.
    #[arg(long)]
    only_testbed: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// The command of this name.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    space::require()?;
    let mut parts = Parts::default();
    parts.part("packages", || packages::ensure(packages::TEST))?;
    parts.part("SDKs", sdk::check_types)?;
    parts.part("the MCP client", sdk::mcp_client)?;
    if !args.only_testbed {
        parts.part("the browser", sdk::browser)?;
    }
    let binary = parts.part("guest and static binary", || build::monocore(false))?;
    let targets = parts.part("test programs", targets::build)?;
    let filter = args.filter.as_deref();
    let is_long = std::env::var_os("MONOCORE_TEST_LONG").is_some() && !args.only_host;
    let postgres = is_long.then(|| parts.part("image of PostgreSQL", postgres::archive)).transpose()?;
    if !args.only_testbed {
        parts.tests("tests on this machine", || on_host(&binary, &targets, filter));
        parts.tests("documentation tests", || doc_tests(filter));
    }
    if !args.only_host {
        // Only the long tests use them.
        let roots = match std::env::var_os(LONG_TESTS) {
            Some(_) => parts.part("images of whole systems", || roots::home(&binary))?,
            None => roots::dir(),
        };
        let given = Given { binary: &binary, roots: &roots, postgres: postgres.as_deref() };
        parts.tests("tests in the testbed", || in_testbed(given, &targets, filter));
    }
    Ok(parts.finish())
}

fn on_host(binary: &Path, targets: &[TestTarget], filter: Option<&str>) -> Result<Tally> {
    let mut all = Tally::default();
    for target in targets.iter().filter(|target| target.place == Place::Host) {
        eprintln!("    {}", target.name);
        all.add(tally::run(target.command(filter).env(BINARY, binary))?.1);
    }
    Ok(all)
}

fn doc_tests(filter: Option<&str>) -> Result<Tally> {
    let mut doc = project::cargo();
    doc.args(["test", "--quiet", "--workspace", "--doc", "--"]).args(filter);
    Ok(tally::run(&mut doc)?.1)
}

/// What tests in a testbed find.
#[derive(Clone, Copy)]
struct Given<'a> {
    binary: &'a Path,
    /// A state directory with images of whole systems.
    roots: &'a Path,
    /// An archive with PostgreSQL's image, where it is tested.
    postgres: Option<&'a Path>,
}

/// One boot of each of the testbeds, side by side: this program runs in them again, as `test-inside`, and each takes
/// the next test program that none has taken.
fn in_testbed(given: Given<'_>, targets: &[TestTarget], filter: Option<&str>) -> Result<Tally> {
    let programs = targets.iter().filter(|target| target.place == Place::Testbed).map(|target| &target.path);
    let mut programs: Vec<OsString> = programs.map(|path| path.clone().into_os_string()).collect();
    if programs.is_empty() {
        return Ok(Tally::default());
    }
    // The long ones first, so that the testbeds end at about the same time.
    programs.sort_by_key(|path| {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        LONG.iter().position(|long| name.starts_with(long)).unwrap_or(LONG.len())
    });
    let claims = project::target_dir().join("testbed-claims");
    if claims.exists() {
        fs::remove_dir_all(&claims).with_context(|| format!("cannot remove {}", claims.display()))?;
    }
    fs::create_dir_all(&claims).with_context(|| format!("cannot create {}", claims.display()))?;
    // Cargo may have put another build where this program was.
    let xtask = claims.join("xtask");
    fs::copy("/proc/self/exe", &xtask).with_context(|| format!("cannot write {}", xtask.display()))?;
    let testbeds = u64::from(testbed::places()).min(MOST_TESTBEDS).min(space::testbeds()?);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..testbeds)
            .map(|number| {
                let counts = claims.join(format!("tally-{number}"));
                let (claims, programs, xtask) = (&claims, &programs, &xtask);
                scope.spawn(move || one_testbed(given, xtask, programs, filter, claims, &counts))
            })
            .collect();
        let mut all = Tally::default();
        for run in runs {
            match run.join() {
                Ok(tally) => all.add(tally?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

fn one_testbed(
    given: Given<'_>,
    xtask: &Path,
    programs: &[OsString],
    filter: Option<&str>,
    claims: &Path,
    counts: &Path,
) -> Result<Tally> {
    let mut argv: Vec<OsString> = Vec::new();
    if let Some(archive) = given.postgres {
        let mut variable = OsString::from("MONOCORE_TEST_POSTGRES=");
        variable.push(archive);
        argv.extend(["env".into(), variable]);
    }
    argv.extend([xtask.into(), "test-inside".into()]);
    argv.extend(["--roots".into(), given.roots.into()]);
    argv.extend(["--binary".into(), given.binary.into(), "--tally".into(), counts.into()]);
    argv.extend(["--claims".into(), claims.into()]);
    if let Some(filter) = filter {
        argv.extend(["--filter".into(), filter.into()]);
    }
    argv.extend(programs.iter().cloned());
    match (Testbed { timeout: TESTBED_TIMEOUT, ..Testbed::default() }).run(&argv)? {
        Outcome::Exited(0) => read_text(counts)?.parse(),
        Outcome::Exited(status) => bail!("the testbed's half ended with status {status}"),
        Outcome::TimedOut => bail!("the testbed's tests took more than {} s", TESTBED_TIMEOUT.as_secs()),
    }
}

/// What was done, how long it took, and whether it passed.
#[derive(Default)]
struct Parts {
    took: Vec<(&'static str, Duration, bool)>,
    tests: Tally,
}

impl Parts {
    /// Something the rest depends on.
    fn part<T>(&mut self, what: &'static str, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = step(what, action);
        self.took.push((what, start.elapsed(), result.is_ok()));
        result
    }

    /// Tests, whose failure lets the rest go on.
    fn tests(&mut self, what: &'static str, action: impl FnOnce() -> Result<Tally>) {
        match self.part(what, action) {
            Ok(tally) => {
                self.tests.add(tally);
                if let Some(last) = self.took.last_mut() {
                    last.2 = tally.passes();
                }
            }
            Err(error) => eprintln!("error: {error:#}"),
        }
    }

    fn finish(self) -> ExitCode {
        eprintln!("==> which part took how long");
        let mut all = Duration::ZERO;
        for (what, took, passed) in &self.took {
            let result = if *passed { "ok" } else { "FAILED" };
            eprintln!("    {:8.1} s  {result:<7} {what}", took.as_secs_f64());
            all += *took;
        }
        eprintln!("{}; finished in {:.2}s", self.tests, all.as_secs_f64());
        if self.took.iter().all(|(_, _, passed)| *passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
