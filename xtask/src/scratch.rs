//! `cargo xtask scratch-templates`: the empty file systems that new scratch disks are written from.
//!
//! Each is what mke2fs makes of a sparse file with fixed identities and times, reduced to the blocks that are not
//! zero: deflated records of a block's number (32 bits, little-endian) and its content.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::packages;
use crate::process::{command, run as run_command};
use crate::project;

/// Names, sizes in MiB, and journals' sizes in MiB. A disk is made from the largest that is not larger, and grown by the
/// guest. One that outlives its machine has a journal.
const TEMPLATES: [(&str, u64, Option<u32>); 4] =
    [("64m", 64, None), ("8g", 8192, None), ("64m-journal", 64, Some(4)), ("8g-journal", 8192, Some(32))];
const BLOCK_BYTES: usize = 4096;
/// The file systems' identity and the seed of their directory hashes: nobody tells scratch disks apart.
const UUID: &str = "6d6f6e6f-636f-7265-8000-000000000001";
const HASH_SEED: &str = "6d6f6e6f-636f-7265-8000-000000000002";
/// When they were made, seconds since 1970.
const MADE: &str = "1700000000";

/// Makes all templates anew, in the source tree.
pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::SCRATCH)?;
    for (name, mib, journal_mib) in TEMPLATES {
        let template = template(mib, journal_mib)?;
        let path = project::root().join("orchestrator/src/scratch").join(format!("{name}.ext4.zz"));
        std::fs::write(&path, &template).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{}: {} bytes", path.display(), template.len());
    }
    Ok(())
}

fn template(mib: u64, journal_mib: Option<u32>) -> Result<Vec<u8>> {
    let dir = project::target_dir().join("scratch-templates");
    project::fresh_dir(&dir)?;
    let path = dir.join("disk");
    let disk = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    disk.set_len(mib << 20)?;
    make_file_system(&path, journal_mib)?;
    let disk = File::open(&path)?;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let mut block = [0; BLOCK_BYTES];
    for number in 0..u32::try_from((mib << 20) / BLOCK_BYTES as u64)? {
        disk.read_exact_at(&mut block, u64::from(number) * BLOCK_BYTES as u64)?;
        if block.iter().any(|byte| *byte != 0) {
            encoder.write_all(&number.to_le_bytes())?;
            encoder.write_all(&block)?;
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(encoder.finish()?)
}

/// `discard` on a sparse file lets mke2fs count the inode tables and the journal as zeroed without writing them, so no
/// guest zeroes them either.
fn make_file_system(path: &Path, journal_mib: Option<u32>) -> Result<()> {
    let extended =
        format!("lazy_itable_init=0,lazy_journal_init=1,discard,hash_seed={HASH_SEED},root_owner=0:0");
    let mut mke2fs = command("mke2fs", ["-q", "-t", "ext4", "-b", "4096", "-m", "0", "-U", UUID]);
    match journal_mib {
        Some(mib) => mke2fs.args(["-O", "^resize_inode", "-J"]).arg(format!("size={mib}")),
        None => mke2fs.args(["-O", "^has_journal,^resize_inode"]),
    };
    mke2fs.args(["-E", &extended]).arg(path).env("E2FSPROGS_FAKE_TIME", MADE);
    run_command(&mut mke2fs)
}
