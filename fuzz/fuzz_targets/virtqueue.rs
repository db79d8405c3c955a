//! Rings, descriptor tables and buffers of arbitrary bytes, given to each device that has its own rings.

#![no_main]

use std::fs::File;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use monocore_balloon::Balloon;
use monocore_blk::{Block, Concat, Part, Raw};
use monocore_console::{Console, Size};
use monocore_rng::Rng;
use monocore_virtio::conformance::feed;
use monocore_vsock::{Handlers, Limits, Vsock};

const DISK_BYTES: u64 = 1 << 20;

/// One file for all runs, without a name.
fn disk() -> File {
    static DISK: OnceLock<File> = OnceLock::new();
    let disk = DISK.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("monocore-fuzz-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.expect("a temporary file");
        std::fs::remove_file(&path).expect("it was just made");
        file.set_len(DISK_BYTES).expect("room for it");
        file
    });
    disk.try_clone().expect("a free descriptor")
}

fuzz_target!(|input: &[u8]| {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 6 {
        0 => feed(Rng::new(), bytes),
        5 => feed(Balloon::new(), bytes),
        1 => {
            feed(Block::new(Raw::new(disk(), false).expect("whole sectors"), "raw").expect("a serial"), bytes)
        }
        2 => {
            let parts = [None, Some(disk())].map(|file| Part { file, offset_bytes: 512, len_bytes: 4096 });
            feed(Block::new(Concat::new(parts).expect("whole sectors"), "parts").expect("a serial"), bytes);
        }
        3 => {
            let size = Size { columns: 80, rows: 25 };
            feed(Console::new(None, None, size).expect("a free descriptor"), bytes);
        }
        _ => {
            let (handlers, _dialer) = Handlers::new().expect("a free descriptor");
            let handlers = handlers.listen(0, |_| {}).listen(1, |_| {});
            feed(Vsock::new(3, Box::new(handlers), Limits::default()), bytes);
        }
    }
});
