//! The file system of a virtio-fs device, as its guest finds it. The host's part is `tests/vhost_user_fs.rs`.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use sha2::{Digest, Sha256};

use super::{say, wait_until};
use crate::fs_suite::{self, Expectations};

/// Shares besides those named below; more than a machine has devices.
pub const MANY: usize = 50;
/// Bytes of the file that is read and written as a whole.
pub const LARGE_BYTES: usize = 32 << 20;

/// Mounts the device and looks at everything in it.
pub(super) fn run() -> Result<()> {
    mount("monocore", "/mnt", "virtiofs", MountFlags::empty(), None).context("mounting the tag")?;
    shares().context("the shares")?;
    large().context("a large file")?;
    read_only().context("the read-only share")?;
    single_file().context("the single file")?;
    overlay().context("an overlay on a share")?;
    suite(Expectations { no_device_nodes: true, ..Expectations::default() })?;
    coming_and_going().context("a share that comes and goes")?;
    unmount("/mnt", UnmountFlags::empty()).context("unmounting")
}

/// Runs the suite on a device whose host is not root.
pub(super) fn run_rootless() -> Result<()> {
    mount("monocore", "/mnt", "virtiofs", MountFlags::empty(), None).context("mounting the tag")?;
    suite(Expectations { no_device_nodes: true, owners_of_files_only: true })?;
    unmount("/mnt", UnmountFlags::empty()).context("unmounting")
}

/// All shares are there, each with a device number of its own.
fn shares() -> Result<()> {
    let mut names: Vec<_> = fs::read_dir("/mnt")?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    ensure!(names.len() == MANY + 3, "{names:?}");
    let mut devices: Vec<u64> = Vec::new();
    for name in &names {
        let path = Path::new("/mnt").join(name);
        // Looking below it is what mounts it.
        let _ = fs::read_dir(&path)?.count();
        devices.push(fs::metadata(&path)?.dev());
    }
    devices.push(fs::metadata("/mnt")?.dev());
    devices.sort_unstable();
    devices.dedup();
    ensure!(devices.len() == MANY + 4, "{} device numbers", devices.len());
    for number in 0..MANY {
        let text = fs::read_to_string(format!("/mnt/many-{number}/name"))?;
        ensure!(text == number.to_string(), "share {number} holds {text}");
    }
    say(&format!("{} shares", names.len()));
    Ok(())
}

/// What the host wrote is read, and what is written here is the host's to compare.
fn large() -> Result<()> {
    let expected = fs::read_to_string("/mnt/work/large.sha256")?;
    let content = fs::read("/mnt/work/large")?;
    ensure!(content.len() == LARGE_BYTES, "{} bytes", content.len());
    ensure!(hex(&Sha256::digest(&content)) == expected, "the content differs");
    let reversed: Vec<u8> = content.into_iter().rev().collect();
    let mut file = fs::File::create("/mnt/work/reversed")?;
    file.write_all(&reversed)?;
    file.sync_all()?;
    fs::write("/mnt/work/reversed.sha256", hex(&Sha256::digest(&reversed)))?;
    say("a large file, both ways");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_only() -> Result<()> {
    ensure!(fs::read_to_string("/mnt/fixed/name")? == "fixed");
    for result in [
        fs::write("/mnt/fixed/name", "x"),
        fs::write("/mnt/fixed/new", "x"),
        fs::remove_file("/mnt/fixed/name"),
        fs::create_dir("/mnt/fixed/dir"),
        fs::rename("/mnt/fixed/name", "/mnt/fixed/other"),
    ] {
        let error = result.err().and_then(|error| Errno::from_io_error(&error));
        ensure!(error == Some(Errno::ROFS), "{error:?}");
    }
    Ok(())
}

/// A file is shared by a directory that holds only it, and lands anywhere by a bind mount.
fn single_file() -> Result<()> {
    fs::write("/tmp/target", "covered")?;
    mount_bind("/mnt/one/file", "/tmp/target")?;
    ensure!(fs::read_to_string("/tmp/target")? == "one");
    let mut file = fs::OpenOptions::new().read(true).write(true).open("/tmp/target")?;
    file.write_all(b"two!")?;
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == "two!");
    drop(file);
    Ok(unmount("/tmp/target", UnmountFlags::empty())?)
}

/// A share as the lower layer of a root: changes stay out of it.
fn overlay() -> Result<()> {
    for dir in ["/tmp/upper", "/tmp/work", "/tmp/root"] {
        fs::create_dir(dir)?;
    }
    let options = c"lowerdir=/mnt/many-0,upperdir=/tmp/upper,workdir=/tmp/work";
    mount("overlay", "/tmp/root", "overlay", MountFlags::empty(), options)?;
    fs::write("/tmp/root/name", "changed")?;
    fs::write("/tmp/root/new", "")?;
    ensure!(fs::read_to_string("/tmp/root/name")? == "changed");
    ensure!(fs::read_to_string("/mnt/many-0/name")? == "0" && !Path::new("/mnt/many-0/new").exists());
    Ok(unmount("/tmp/root", UnmountFlags::empty())?)
}

fn suite(expect: Expectations) -> Result<()> {
    let report = fs_suite::run(Path::new("/mnt/work"), expect).context("the suite")?;
    say(&format!("suite {} assertions, {} failed", report.made, report.failed.len()));
    if !report.failed.is_empty() {
        report.failed.iter().for_each(|line| say(&format!("FAILED {line}")));
        bail!("the suite failed");
    }
    Ok(())
}

/// The host adds a share when asked to, and takes it away again.
fn coming_and_going() -> Result<()> {
    let late = Path::new("/mnt/late/name");
    ensure!(!late.exists());
    say("add late");
    wait_until("the share is there", || late.exists())?;
    let mut file = fs::OpenOptions::new().read(true).write(true).open(late)?;
    file.write_all(b"seen")?;
    say("remove late");
    wait_until("the share is gone", || fs::metadata("/mnt/late").is_err())?;
    let error = file.write_all(b"more").err().and_then(|error| Errno::from_io_error(&error));
    ensure!(error == Some(Errno::STALE), "writing to a removed share: {error:?}");
    Ok(())
}
