//! Sandboxes from a Rust program: the example of `sdk/rust`, and futures that are dropped.

use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Waker};

use monocore::sandbox::{Installation, Sandbox, SandboxStatus};
use monocore_tests::world::{PLAIN, World};

use crate::support::{ran, until};

#[allow(dead_code, reason = "its main is for users")]
#[path = "../../../sdk/rust/examples/sandbox.rs"]
mod example;

/// Polls a future once and drops it.
fn begin_and_drop<T>(future: impl Future<Output = T>) {
    assert!(pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn a_program_makes_asks_and_removes_a_sandbox_and_dropped_futures_leave_nothing() {
    let world = World::get();
    let program = PathBuf::from(world.monocore([""; 0]).get_program());
    let installation = Installation::at(world.home(), program).unwrap();
    let spec = |name: &str| {
        Sandbox::builder(PLAIN).name(name).ram_mib(128).command(["sleep", "1000"]).build().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();

    // It is made, and nobody takes it.
    begin_and_drop(Sandbox::create(&installation, spec("library-none")));
    let sandbox = runtime.block_on(Sandbox::create(&installation, spec("library"))).unwrap();
    until("the end of what nobody took", || ran(&[&["inspect", "library-none"]]).code == 1);

    // The machine is started, and killed.
    begin_and_drop(sandbox.start());
    let state = || runtime.block_on(sandbox.state()).unwrap();
    until("the end of the start", || state().status == SandboxStatus::Exited && state().pid.is_none());
    assert!(state().is_stopped, "{:?}", state());
    runtime.block_on(sandbox.start()).unwrap();
    assert_eq!(state().status, SandboxStatus::Running);

    let exec = |argv: [&str; 3]| runtime.block_on(sandbox.exec(argv)).unwrap();
    let output = exec(["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((output.code, &output.stdout[..], &output.stderr[..]), (3, &b"out\n"[..], &b"err\n"[..]));
    let missing = runtime.block_on(sandbox.exec(["/nonexistent"])).unwrap_err();
    assert!(missing.to_string().contains("no such file"), "{missing}");

    runtime.block_on(example::work(&sandbox, &world.home())).unwrap();
    runtime.block_on(sandbox.start()).unwrap();
    begin_and_drop(sandbox.wait());
    let endless = async {
        let command = sandbox.exec(["sleep", "996"]);
        tokio::time::timeout(std::time::Duration::from_secs(1), command).await.unwrap_err();
    };
    runtime.block_on(endless);
    until("the command's end", || {
        let processes = exec(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout;
        !String::from_utf8_lossy(&processes).contains("sleep 996")
    });
    runtime.block_on(sandbox.remove()).unwrap();
    for name in ["library", "library-none"] {
        assert_eq!(ran(&[&["inspect", name]]).code, 1, "{name}");
    }
}
