//! Machines that run a few bytes of code instead of a kernel: every way a machine can end. Needs a KVM that works.
#![allow(clippy::unwrap_used, reason = "a test's own steps succeed or the test fails")]

use std::fs;
use std::path::PathBuf;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use monocore_vmm::{Builder, HostHypervisor, Running, VmExit};

/// Where the code is loaded and begins: 32-bit protected mode, flat segments.
const ENTRY: u32 = 0x100_0000;

/// An ELF file with a PVH entry whose text is `code`.
fn kernel(code: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let mut image = vec![0u8; 4096];
    image[..6].copy_from_slice(b"\x7fELF\x02\x01");
    image[18..20].copy_from_slice(&62u16.to_le_bytes());
    image[32..40].copy_from_slice(&64u64.to_le_bytes());
    image[54..56].copy_from_slice(&56u16.to_le_bytes());
    image[56..58].copy_from_slice(&2u16.to_le_bytes());
    let len = code.len() as u64;
    let headers = [(1u32, 4096u64, u64::from(ENTRY), len), (4, 512, 0, 20)];
    for (index, (kind, offset, gpa, len)) in headers.into_iter().enumerate() {
        let raw = &mut image[64 + 56 * index..][..56];
        raw[..4].copy_from_slice(&kind.to_le_bytes());
        for (at, value) in [(8, offset), (24, gpa), (32, len), (40, len)] {
            raw[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    image[512..528].copy_from_slice(b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0");
    image[528..532].copy_from_slice(&ENTRY.to_le_bytes());
    image.extend_from_slice(code);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmlinux");
    fs::write(&path, image).unwrap();
    (dir, path)
}

fn start(code: &[u8]) -> (tempfile::TempDir, Running<HostHypervisor>) {
    let (dir, path) = kernel(code);
    let running = Builder::new(path).ram_mib(64).build().unwrap().start().unwrap();
    (dir, running)
}

fn end_of(code: &[u8]) -> VmExit {
    start(code).1.wait()
}

/// `mov dx, port; mov al, value; out dx, al`
fn out(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xb0, value, 0xee]
}

/// `jmp` to itself.
const SPIN: [u8; 2] = [0xeb, 0xfe];

#[test]
fn the_exit_device_powers_off_and_reboots() {
    assert_eq!(end_of(&[&out(0x600, 1)[..], &SPIN].concat()), VmExit::PowerOff);
    assert_eq!(end_of(&[&out(0x600, 2)[..], &SPIN].concat()), VmExit::Reboot);
}

#[test]
fn the_keyboard_controllers_reset_line_reboots() {
    assert_eq!(end_of(&[&out(0x64, 0xfe)[..], &SPIN].concat()), VmExit::Reboot);
}

#[test]
fn a_panics_text_comes_in_one_string_instruction() {
    let text = b"Kernel panic - not syncing: test";
    // mov esi, text; mov ecx, len; mov dx, 0x604; cld; rep outsb
    let mut code = vec![0xbe, 0, 0, 0, 0, 0xb9, 32, 0, 0, 0, 0x66, 0xba, 0x04, 0x06, 0xfc, 0xf3, 0x6e];
    code.extend(out(0x600, 3));
    code.extend(SPIN);
    let address = ENTRY + u32::try_from(code.len()).unwrap();
    code[1..5].copy_from_slice(&address.to_le_bytes());
    code.extend(text);
    assert_eq!(end_of(&code), VmExit::Panic { text: String::from_utf8_lossy(text).into_owned() });
}

#[test]
fn a_triple_fault_is_one() {
    // An undefined instruction without a table of handlers.
    assert_eq!(end_of(&[0x0f, 0x0b]), VmExit::TripleFault);
}

#[test]
fn code_where_no_memory_is_is_an_internal_error() {
    // jmp eax, which is 0xe0000000
    let exit = end_of(&[0xb8, 0, 0, 0, 0xe0, 0xff, 0xe0]);
    assert!(matches!(exit, VmExit::InternalError { .. }), "{exit:?}");
}

#[test]
fn a_spinning_guest_is_killed_at_once() {
    let (_dir, running) = start(&SPIN);
    let handle = running.handle();
    let killer = spawn(move || {
        sleep(Duration::from_millis(200));
        let at = Instant::now();
        handle.kill();
        at
    });
    assert_eq!(running.wait(), VmExit::Killed);
    assert!(killer.join().unwrap().elapsed() < Duration::from_secs(2));
}

#[test]
fn a_paused_guest_stands_still_and_goes_on() {
    // Counts up at the mark's port for ever: mov dx, 0x608; out dx, al; inc al; jmp back
    let (_dir, running) = start(&[0x66, 0xba, 0x08, 0x06, 0xee, 0xfe, 0xc0, 0xeb, 0xfb]);
    let moved = |before| {
        let until = Instant::now() + Duration::from_secs(10);
        while running.counts().port_writes == before && Instant::now() < until {
            sleep(Duration::from_millis(10));
        }
        running.counts().port_writes != before
    };
    assert!(moved(0));
    running.pause().unwrap();
    let paused = running.counts().port_writes;
    sleep(Duration::from_millis(300));
    assert_eq!(running.counts().port_writes, paused);
    running.resume().unwrap();
    assert!(moved(paused));
    drop(running);
}

#[test]
fn a_guest_writes_any_number_of_marks_and_the_first_ones_are_kept() {
    // As above, but it powers off after 256 marks: inc al; jnz back.
    let mut code = vec![0xb0, 0, 0x66, 0xba, 0x08, 0x06, 0xee, 0xfe, 0xc0, 0x75, 0xfb];
    code.extend(out(0x600, 1));
    code.extend(SPIN);
    let (_dir, running) = start(&code);
    while running.timeline().is_empty() || running.counts().port_writes < 257 {
        sleep(Duration::from_millis(10));
    }
    let timeline = running.timeline();
    assert!(timeline.iter().any(|entry| entry.event == "mark:0"));
    assert!(timeline.len() <= 64);
    assert_eq!(running.wait(), VmExit::PowerOff);
}
