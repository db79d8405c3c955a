//! What devices count, read by others while they run.

/// A device's counters: each device owns its own, nothing is global.
pub trait Counters: Send + Sync {
    /// Names and values, always in the same order.
    fn read(&self) -> Vec<(&'static str, u64)>;
}

/// Makes a structure of `AtomicU64` a device's [`Counters`], named like its fields.
#[macro_export]
macro_rules! device_counters {
    ($type:ty { $($name:ident),+ $(,)? }) => {
        impl $crate::Counters for $type {
            fn read(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(std::sync::atomic::Ordering::Relaxed))),+]
            }
        }
    };
}
