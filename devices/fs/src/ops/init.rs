//! INIT and DESTROY.

use rustix::io::Errno;

use super::Outcome;
use crate::server::{Call, Done, Server, Session};
use crate::wire::{InitIn, InitInExt, InitOut, MAJOR, MINOR, MINOR_OLDEST, flags};

/// Most pages of one request: 1 MiB.
pub(crate) const MAX_PAGES: u16 = 256;
/// Most bytes of one WRITE.
pub(crate) const MAX_WRITE: u32 = 4096 * MAX_PAGES as u32;
/// What is asked for wherever the guest offers it.
///
/// Not among it: POSIX_ACL, EXPORT_SUPPORT, SECURITY_CTX.
const WANTED: u64 = flags::ASYNC_READ
    | flags::POSIX_LOCKS
    | flags::ATOMIC_O_TRUNC
    | flags::BIG_WRITES
    | flags::FLOCK_LOCKS
    | flags::AUTO_INVAL_DATA
    | flags::DO_READDIRPLUS
    | flags::READDIRPLUS_AUTO
    | flags::ASYNC_DIO
    | flags::PARALLEL_DIROPS
    | flags::MAX_PAGES
    | flags::CACHE_SYMLINKS
    | flags::SUBMOUNTS
    | flags::HANDLE_KILLPRIV_V2
    | flags::INIT_EXT
    | flags::HOST_SHARED;

impl Server {
    /// Begins a session; one that was not ended is dropped, as after a reboot of the guest.
    pub(super) fn init(&mut self, call: &mut Call<'_>) -> Outcome {
        let init: InitIn = call.args.take()?;
        if init.major < MAJOR || (init.major == MAJOR && init.minor < MINOR_OLDEST) {
            return Err(Errno::PROTO);
        }
        if init.major > MAJOR {
            // The guest asks again with our version.
            call.reply(&InitOut { major: MAJOR, minor: MINOR, ..InitOut::default() });
            return Ok(Done::Reply);
        }
        let mut offered = u64::from(init.flags);
        if offered & flags::INIT_EXT != 0 {
            offered |= u64::from(call.args.take::<InitInExt>()?.flags2) << 32;
        }
        let wanted = if self.config.writeback { WANTED | flags::WRITEBACK_CACHE } else { WANTED };
        let agreed = Session { minor: init.minor.min(MINOR), flags: offered & wanted };
        self.end_session();
        self.session = Some(agreed);
        let [low, high] =
            [agreed.flags & u64::from(u32::MAX), agreed.flags >> 32].map(|word| word.try_into());
        call.reply(&InitOut {
            major: MAJOR,
            minor: MINOR,
            max_readahead: init.max_readahead,
            flags: low.unwrap_or_default(),
            max_background: u16::MAX,
            congestion_threshold: u16::MAX / 4 * 3,
            max_write: MAX_WRITE,
            time_gran: 1,
            max_pages: MAX_PAGES,
            map_alignment: 0,
            flags2: high.unwrap_or_default(),
            unused: [0; 7],
        });
        Ok(Done::Reply)
    }

    /// Ends the session: the guest has unmounted the tag.
    pub(super) fn destroy(&mut self) -> Outcome {
        self.end_session();
        Ok(Done::Reply)
    }

    /// Forgets everything that the guest knows and has open.
    pub(crate) fn end_session(&mut self) {
        self.session = None;
        self.waiters.clear();
        self.parked.clear();
        self.locks.clear();
        self.handles.clear();
        self.dirty.clear();
        self.nodes.clear();
    }

    /// Whether INIT agreed on a flag.
    pub(crate) fn agreed(&self, flag: u64) -> bool {
        self.session.is_some_and(|session| session.flags & flag != 0)
    }
}
