use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use monocore_spec::{FileRef, JailMode, KernelSpec, Kicks, RamSpec, SPEC_VERSION, Sink};

use super::*;

fn spec() -> VmSpec {
    VmSpec {
        version: SPEC_VERSION,
        name: "test".into(),
        vcpus: 1,
        ram: RamSpec { size_mib: 64, shared: false },
        kernel: KernelSpec {
            image: FileRef::Fd(0),
            initrd: Vec::new(),
            command_line: String::new(),
            kicks: Kicks::Port,
        },
        devices: Vec::new(),
        serial: Sink::Discard,
        timeline: Sink::Discard,
        jail: JailMode::default(),
        control: None,
    }
}

/// A stand-in for `monocore`: a shell script that is given `vmm SPEC_FD LIFELINE_FD`.
fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("vmm");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_child_gets_its_spec_and_files_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (out, given) = (dir.path().join("out"), dir.path().join("given"));
    std::fs::write(&given, "content").unwrap();
    let given = File::open(&given).unwrap();
    let _not_for_the_child = File::open("/dev/zero").unwrap();
    let script = format!(
        "{{ cat <&$2; echo; cat <&{}; echo; ls -l /proc/$$/fd; env; }} > {}; echo '{{\"end\":\"power_off\"}}' >&$3",
        given.as_raw_fd(),
        out.display()
    );
    let vmm = VmmProcess::start(&program(dir.path(), &script), &spec(), &[given.as_fd()]).unwrap();
    assert_eq!(vmm.wait(END_GRACE), VmExit::PowerOff);
    let out = std::fs::read_to_string(out).unwrap();
    let mut lines = out.lines();
    assert_eq!(serde_json::from_str::<VmSpec>(lines.next().unwrap()).unwrap(), spec());
    assert_eq!(lines.next(), Some("content"));
    assert!(!out.contains("/dev/zero"), "{out}");
    assert!(!out.contains("CARGO"), "{out}");
}

#[test]
fn a_machines_memory_is_told_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let vmm = VmmProcess::start(&program(dir.path(), "read gone <&$3"), &spec(), &[]).unwrap();
    // A program that has just begun has touched few of its pages.
    assert!(vmm.resident_bytes().unwrap() > 0);
    vmm.end();
}

#[test]
fn a_machine_ends_when_its_lifeline_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), "cat <&$3 >/dev/null");
    let started = Instant::now();
    VmmProcess::start(&program, &spec(), &[]).unwrap().end();
    assert!(started.elapsed() < END_GRACE);
}

#[test]
fn a_machine_that_clings_to_life_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let vmm = VmmProcess::start(&program(dir.path(), "exec sleep 100"), &spec(), &[]).unwrap();
    drop(vmm);
}

#[test]
fn a_crash_without_a_report_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let vmm = VmmProcess::start(&program(dir.path(), "exit 7"), &spec(), &[]).unwrap();
    assert!(matches!(vmm.wait(END_GRACE), VmExit::InternalError { detail } if detail.contains("status 7")));
    let vmm = VmmProcess::start(&program(dir.path(), "kill -9 $$"), &spec(), &[]).unwrap();
    assert!(matches!(vmm.wait(END_GRACE), VmExit::InternalError { detail } if detail.contains("signal 9")));
}

#[test]
fn a_missing_program_is_told() {
    assert!(VmmProcess::start(Path::new("/nonexistent/monocore"), &spec(), &[]).is_err());
}
