//! The network as programs in a sandbox and others outside find it, each test in every mode there is.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

/// Makes a test of each function for each mode; the function is told the mode. Those behind `alone:` run beside no other.
macro_rules! in_each_mode {
    (@$turn:ident $($test:ident),*) => {
        mod nat {
            $(#[test]
            fn $test() {
                let _turn = crate::ground::$turn();
                super::$test(crate::ground::Mode::Nat);
            })*
        }

        mod tsi {
            $(#[test]
            fn $test() {
                let _turn = crate::ground::$turn();
                super::$test(crate::ground::Mode::Tsi);
            })*
        }
    };
    (alone: $($test:ident),* $(,)?) => { in_each_mode!(@alone $($test),*); };
    ($($test:ident),* $(,)?) => { in_each_mode!(@beside_others $($test),*); };
}

#[path = "net/ground.rs"]
mod ground;
#[path = "net/hostile.rs"]
mod hostile;
#[path = "net/limits.rs"]
mod limits;
#[path = "net/load.rs"]
mod load;
#[path = "net/names.rs"]
mod names;
#[path = "net/ordinary.rs"]
mod ordinary;
#[path = "net/sockets.rs"]
mod sockets;
#[path = "net/tools.rs"]
mod tools;
