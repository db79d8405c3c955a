//! Commands that use up what the guest has, and a guest whose root ends its own kernel.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use monocore_tests::world::World;

use crate::support::{Background, machine, machine_mib, ran, supervisor, until};

/// How long a listing may take to show the end, and `kill` to end a guest. Two seconds and five are
/// promised on a machine of one's own; the emulated host needs several times as long for each of
/// the commands that are timed.
const SOON: Duration = Duration::from_secs(10);
/// Memory of the guests.
const RAM_MIB: u64 = 128;

#[test]
fn what_uses_everything_up_ends_alone() {
    let sandbox = Background::run("hostile", &["--root-disk", "64m"], "sleep 1000");
    let full = sandbox.exec(&[], "dd if=/dev/zero of=/big bs=1M count=100");
    assert!(full.code != 0 && full.stderr.contains("No space left on device"), "{full:?}");
    // A hog is ended by the guest's kernel, and nothing else is.
    assert_eq!(sandbox.exec(&[], "tail /dev/zero").code, 137);
    assert_eq!(sandbox.exec(&[], "rm /big && echo fine").out(), "fine\n");
    let mib = machine_mib(&sandbox);
    assert!(mib <= RAM_MIB + 64, "{mib} MiB");
    assert_eq!(sandbox.inspect()["state"]["status"], "running");
}

/// A way for the guest's root to end its kernel.
struct End {
    script: &'static str,
    /// The sandbox's exit code.
    code: u8,
    /// What its error says.
    error: &'static str,
}

/// The agent is process 1 of the machine, out of reach of every command. A helper of core dumps is
/// not: the kernel starts it beside the agent, with all rights. There it overwrites the agent's
/// code.
const KILL_AGENT: &str = r#"
dd if=/dev/zero of=/zeroes bs=4096 count=600 2> /dev/null
cat > /helper << 'END'
B=/../bin/busybox
$B mkdir /../proc1
$B mount -t proc proc /../proc1
code=$($B grep -m1 r-xp /../proc1/1/maps)
$B dd if=/../zeroes of=/../proc1/1/mem bs=4096 seek=$((0x${code%%-*}/4096)) conv=notrunc
END
echo '|/../bin/busybox sh /../helper' > /proc/sys/kernel/core_pattern
sh -c 'kill -SEGV $$'
sleep 1000"#;

const ENDS: [End; 4] = [
    End { script: "echo c > /proc/sysrq-trigger", code: 125, error: "sysrq triggered crash" },
    End {
        script: "echo 2 > /proc/sys/vm/panic_on_oom; tail /dev/zero",
        code: 125,
        error: "panic_on_oom is enabled",
    },
    End { script: KILL_AGENT, code: 125, error: "Attempted to kill init!" },
    // A reset, after which there is no machine to go on with.
    End { script: "echo b > /proc/sysrq-trigger", code: 0, error: "" },
];

/// The end of a sandbox's machine is shown soon; nothing is left of it, and it starts again.
#[track_caller]
fn ends(sandbox: &Background, end: &End) {
    let processes = [supervisor(sandbox), machine(supervisor(sandbox))];
    let id = sandbox.inspect()["id"].as_str().unwrap().to_owned();
    let told = sandbox.exec(&["--privileged"], end.script);
    let begun = Instant::now();
    assert_eq!(told.code, 137, "{}: {told:?}", end.script);
    until("the end", || sandbox.inspect()["state"]["status"] == "exited");
    assert!(begun.elapsed() < SOON, "{}: shown after {:?}", end.script, begun.elapsed());
    let state = sandbox.inspect()["state"].clone();
    assert_eq!(state["exit_code"], end.code, "{}: {state}", end.script);
    let error = state["error"].as_str().unwrap_or_default();
    assert!(error.contains(end.error), "{}: {state}", end.script);
    let listed = ran(&[&["ps", "-a", "--filter", &format!("id={id}"), "--format", "{{.Status}}"]]);
    assert!(listed.out().starts_with(&format!("Exited ({})", end.code)), "{listed:?}");
    until("the processes are gone", || {
        let exists = |pid: &rustix::process::Pid| {
            PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero())).exists()
        };
        !processes.iter().any(exists)
    });
    assert!(!World::get().home().join("run").join(&id).exists(), "{}: its run directory stays", end.script);
    ran(&[&["start", &id]]).out();
    assert_eq!(sandbox.exec(&[], "echo again").out(), "again\n", "{}", end.script);
    let mib = machine_mib(sandbox);
    assert!(mib <= RAM_MIB + 64, "{}: {mib} MiB", end.script);
}

#[test]
fn a_guest_that_ends_its_own_kernel_is_shown_and_starts_again() {
    let sandbox = Background::run("hostile-end", &[], "sleep 1000");
    for end in &ENDS {
        ends(&sandbox, end);
    }
    let begun = Instant::now();
    ran(&[&["stop", "-t", "0", "hostile-end"]]).out();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// A copy of the guest's kernel in which the work of `echo c > /proc/sysrq-trigger` is `code`
/// instead.
fn kernel_with(name: &str, address: u64, code: &[u8]) -> PathBuf {
    let kernels = std::fs::read_dir(World::get().home().join("kernel")).unwrap();
    let kernel = kernels.map(|entry| entry.unwrap().path().join("vmlinux")).find(|path| path.exists());
    let mut image = std::fs::read(kernel.expect("a sandbox has run")).unwrap();
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    let count = usize::from(u16::from_le_bytes(image[56..58].try_into().unwrap()));
    // Program headers of 56 bytes: offset in the file at 8, address at 16, length in the file at
    // 32.
    let headers = (0..count).map(|number| usize::try_from(word(32)).unwrap() + 56 * number);
    let at = headers.map(|header| (word(header + 8), word(header + 16), word(header + 32))).find_map(
        |(offset, start, len)| (start..start + len).contains(&address).then(|| address - start + offset),
    );
    let at = usize::try_from(at.expect("the function is in the file")).unwrap();
    image[at..at + code.len()].copy_from_slice(code);
    let path = World::get().path(name);
    std::fs::write(&path, image).unwrap();
    path
}

#[test]
fn a_triple_fault_is_shown_and_a_kernel_that_hangs_is_killed() {
    let sandbox = Background::run("hostile-kernel", &[], "sleep 1000");
    let symbol = sandbox.exec(&["--privileged"], "grep ' sysrq_handle_crash$' /proc/kallsyms");
    let address = u64::from_str_radix(symbol.out().split(' ').next().unwrap(), 16).unwrap();
    drop(sandbox);
    // `lidt` of an empty table that follows, then an invalid instruction.
    let triple = [&[0x0f, 0x01, 0x1d, 2, 0, 0, 0, 0x0f, 0x0b][..], &[0; 10]].concat();
    let triple = kernel_with("triple", address, &triple);
    let sandbox = Background::run("hostile-triple", &["--kernel", triple.to_str().unwrap()], "sleep 1000");
    ends(&sandbox, &End { script: "echo c > /proc/sysrq-trigger", code: 125, error: "triple fault" });
    drop(sandbox);
    // Interrupts off, and round and round.
    let hung = kernel_with("hung", address, &[0xfa, 0xeb, 0xfe]);
    let sandbox = Background::run("hostile-hung", &["--kernel", hung.to_str().unwrap()], "sleep 1000");
    let machine = machine(supervisor(&sandbox));
    let detached = sandbox.exec(&["-d", "--privileged"], "echo c > /proc/sysrq-trigger");
    assert_eq!(detached.code, 0, "{detached:?}");
    assert!(ran(&[&["ps", "--format", "{{.Names}} {{.State}}"]]).out().contains("hostile-hung running"));
    let begun = Instant::now();
    ran(&[&["kill", "hostile-hung"]]).out();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    until("the end", || sandbox.inspect()["state"]["status"] == "exited");
    assert!(begun.elapsed() < SOON + SOON, "{:?}", begun.elapsed());
    assert!(!PathBuf::from(format!("/proc/{}/exe", machine.as_raw_nonzero())).exists());
    assert_eq!(sandbox.inspect()["state"]["exit_code"], 137);
}
