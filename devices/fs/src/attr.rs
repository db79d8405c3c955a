//! A file's attributes as the guest gets them.

use std::time::Duration;

use rustix::fs::StatxTimestamp;

use crate::host::Stat;
use crate::owners::View;
use crate::share::CachePolicy;
use crate::wire::{Attr, AttrOut, EntryOut, StatxOut, StatxTimes, WireStatx};

/// Type bits and permissions of the directories of our own making.
const SYNTHETIC_MODE: u32 = 0o040_555;

/// A file of the host, with the owner that the guest sees.
pub(crate) fn attr(stat: &Stat, view: View) -> Attr {
    let raw = stat.raw();
    Attr {
        ino: raw.stx_ino,
        size: raw.stx_size,
        blocks: raw.stx_blocks,
        atime: seconds(&raw.stx_atime),
        mtime: seconds(&raw.stx_mtime),
        ctime: seconds(&raw.stx_ctime),
        atimensec: raw.stx_atime.tv_nsec,
        mtimensec: raw.stx_mtime.tv_nsec,
        ctimensec: raw.stx_ctime.tv_nsec,
        mode: stat.mode() & !0o7777 | view.mode,
        nlink: raw.stx_nlink,
        uid: view.uid,
        gid: view.gid,
        rdev: device_number(raw.stx_rdev_major, raw.stx_rdev_minor),
        blksize: raw.stx_blksize,
        flags: 0,
    }
}

/// A directory of our own making.
pub(crate) fn synthetic_attr(ino: u64) -> Attr {
    Attr { ino, mode: SYNTHETIC_MODE, nlink: 2, blksize: 4096, ..Attr::default() }
}

/// The answer to GETATTR and SETATTR.
pub(crate) fn attr_out(attr: Attr, cache: CachePolicy) -> AttrOut {
    let (attr_valid, attr_valid_nsec) = split(cache.valid());
    AttrOut { attr_valid, attr_valid_nsec, dummy: 0, attr }
}

/// The answer to LOOKUP and to what makes files. `name_valid` is how long the name holds.
pub(crate) fn entry_out(node: u64, attr: Attr, cache: CachePolicy, name_valid: Duration) -> EntryOut {
    let (entry_valid, entry_valid_nsec) = split(name_valid);
    let (attr_valid, attr_valid_nsec) = split(cache.valid());
    EntryOut { nodeid: node, generation: 0, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec, attr }
}

/// The answer to STATX, made from what GETATTR answers and what only the host's file has.
pub(crate) fn statx_out(attr: &Attr, stat: Option<&Stat>, cache: CachePolicy) -> StatxOut {
    /// `STATX_BASIC_STATS` and `STATX_BTIME`.
    const BASIC: u32 = 0x7ff;
    const BTIME: u32 = 0x800;
    let (attr_valid, attr_valid_nsec) = split(cache.valid());
    let time = |sec, nsec| StatxTimes { sec, nsec, reserved: 0 };
    let born = stat.map(|stat| &stat.raw().stx_btime);
    let stat = WireStatx {
        mask: if stat.is_some_and(|s| s.raw().stx_mask & BTIME != 0) { BASIC | BTIME } else { BASIC },
        blksize: attr.blksize,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        mode: u16::try_from(attr.mode).unwrap_or(0),
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: time(attr.atime, attr.atimensec),
        btime: born.map_or_else(StatxTimes::default, |b| time(seconds(b), b.tv_nsec)),
        ctime: time(attr.ctime, attr.ctimensec),
        mtime: time(attr.mtime, attr.mtimensec),
        rdev_major: stat.map_or(0, |s| s.raw().stx_rdev_major),
        rdev_minor: stat.map_or(0, |s| s.raw().stx_rdev_minor),
        ..WireStatx::default()
    };
    StatxOut { attr_valid, attr_valid_nsec, flags: 0, spare: [0; 2], stat }
}

fn split(time: Duration) -> (u64, u32) {
    (time.as_secs(), time.subsec_nanos())
}

/// Seconds before 1970 travel as two's complement.
fn seconds(time: &StatxTimestamp) -> u64 {
    time.tv_sec.cast_unsigned()
}

/// A device number as Linux packs it into 32 bits (`new_encode_dev`).
fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}
