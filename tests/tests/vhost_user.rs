//! Our disks and sockets behind vhost-user, with QEMU as the front end and a stock Debian kernel as the driver. One disk is of
//! this process, the other devices are `monocore vhost-user`, each in its jail.
//! Software emulation; no KVM.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use monocore_blk::{Block, Concat, Part};
use monocore_tests::stock_guest::devices::{ANSWER, ECHO, ECHO_BYTES, LISTENING};
use monocore_vhost_user::Server;
use monocore_virtio::VirtioDevice;
use sha2::{Digest, Sha256};
use support::served::Served;
use support::stock_guest::StockGuest;

const SCRATCH_BYTES: u64 = 32 << 20;

/// Serves `device` to one front end at `name` in `dir`.
fn serve(dir: &Path, name: &str, device: impl VirtioDevice + 'static) -> Result<(PathBuf, JoinHandle<()>)> {
    let path = dir.join(name);
    let server = Server::bind(&path, Box::new(device), Arc::new(|| Ok(())))?;
    let serving = std::thread::spawn(move || server.serve_one().expect("a front end"));
    Ok((path, serving))
}

/// A disk of three files with a gap, the last one short of its part, and its whole content's digest.
fn root_disk() -> Result<(Block, u64, String)> {
    let mut state = 1u64;
    let mut content = |len: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(len)
        .collect()
    };
    let files = [content(5 << 20), content((40 << 20) + 4096), content((10 << 20) - 100)];
    let mut hash = Sha256::new();
    let mut parts = Vec::new();
    for (number, bytes) in files.iter().enumerate() {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        let len_bytes = bytes.len().next_multiple_of(512);
        hash.update(bytes);
        hash.update(vec![0; len_bytes - bytes.len()]);
        parts.push(Part { file: Some(file), offset_bytes: 0, len_bytes: len_bytes as u64 });
        if number == 0 {
            let gap = 3 << 20;
            hash.update(vec![0; gap]);
            parts.push(Part { file: None, offset_bytes: 0, len_bytes: gap as u64 });
        }
    }
    let disk = Concat::new(parts)?;
    let len = disk.len_bytes();
    let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((Block::new(disk, "root")?, len, digest))
}

/// Echoes the guest's first connection, and once it listens, sends it a line and returns the answer.
fn host_side(path: &Path) -> Result<JoinHandle<Result<String>>> {
    let beside = |port| {
        let mut path = path.as_os_str().to_owned();
        path.push(format!("_{port}"));
        UnixListener::bind(path)
    };
    let (echo, listening) = (beside(ECHO)?, beside(LISTENING)?);
    let path = path.to_owned();
    Ok(std::thread::spawn(move || {
        let (stream, _) = echo.accept()?;
        let mut back = stream.try_clone()?;
        std::io::copy(&mut &stream, &mut back).context("echoing")?;
        back.shutdown(Shutdown::Write)?;
        listening.accept()?;
        let mut guest = UnixStream::connect(path)?;
        write!(guest, "CONNECT {ANSWER}\nhow are you\n")?;
        let mut answer = String::new();
        guest.read_to_string(&mut answer)?;
        Ok(answer)
    }))
}

#[test]
fn a_stock_kernel_reads_a_whole_disk_writes_another_and_echoes_100_mb() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (root, root_bytes, root_digest) = root_disk()?;
    let scratch_path = dir.path().join("scratch.img");
    let scratch = File::create_new(&scratch_path)?;
    scratch.set_len(SCRATCH_BYTES)?;
    let vsock_path = dir.path().join("guest");

    let (root, root_thread) = serve(dir.path(), "root.sock", root)?;
    let (scratch, vsock) = (dir.path().join("scratch.sock"), dir.path().join("vsock.sock"));
    let file = scratch_path.to_str().context("a path")?;
    let mut scratch_served = Served::start(&scratch, None, &["blk", "--serial", "scratch", "--file", file]);
    let uds_path = vsock_path.to_str().context("a path")?;
    let mut vsock_served = Served::start(&vsock, None, &["vsock", "--uds-path", uds_path]);
    let answer = host_side(&vsock_path)?;
    let mut guest = StockGuest::new("devices");
    guest.shared_memory();
    for (id, kind, socket) in [
        ("root", "vhost-user-blk-pci,num-queues=1", &root),
        ("scratch", "vhost-user-blk-pci,num-queues=1", &scratch),
        ("vsock", "vhost-user-vsock-pci", &vsock),
    ] {
        guest.character_device(id, socket).argument("-device", format!("{kind},chardev={id}"));
    }
    let said = guest.run(|line| println!("{line}"));
    let said = said.join("\n");
    assert!(said.contains(&format!("root {root_bytes} {root_digest}")), "not {root_digest}:\n{said}");
    assert!(said.contains(&format!("echo {ECHO_BYTES}")), "{said}");
    let answer = answer.join().expect("the host's side")?;
    assert!(answer.starts_with("OK ") && answer.ends_with("\nHOW ARE YOU\n"), "{answer:?}");
    root_thread.join().expect("a device's server");
    scratch_served.assert_running();
    vsock_served.assert_running();
    drop(vsock_served);
    wait_until_gone(&vsock_path)?;
    check_scratch(&scratch_path)
}

/// The broker of the sockets outlives its device for as long as it takes to remove their path.
fn wait_until_gone(path: &Path) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while path.exists() {
        ensure!(Instant::now() < end, "{} is still there", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// 8 MiB were written at 1 MiB, and the first of them discarded.
fn check_scratch(path: &Path) -> Result<()> {
    let content = std::fs::read(path)?;
    assert_eq!(content.len() as u64, SCRATCH_BYTES);
    let written = 1 << 20..9 << 20;
    for (at, byte) in content.iter().enumerate() {
        let expected = match at.checked_sub(written.start) {
            Some(offset) if at >= 2 << 20 && at < written.end => {
                u8::try_from((offset ^ (offset >> 9)) & 0xff)?
            }
            _ => 0,
        };
        ensure!(*byte == expected, "byte {at} of the scratch disk is {byte}");
    }
    assert!(path.metadata()?.blocks() * 512 <= 8 << 20, "what was discarded takes no room");
    Ok(())
}
