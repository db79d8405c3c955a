//! The network as programs in a sandbox and others outside find it, each test in every mode there is.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

/// Makes a test of each function for each mode; the function is told the mode.
macro_rules! in_each_mode {
    ($($test:ident),* $(,)?) => {
        mod nat {
            $(#[test]
            fn $test() {
                let _alone = crate::ground::alone();
                super::$test(crate::ground::Mode::Nat);
            })*
        }

        mod tsi {
            $(#[test]
            fn $test() {
                let _alone = crate::ground::alone();
                super::$test(crate::ground::Mode::Tsi);
            })*
        }
    };
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
#[path = "net/sockets.rs"]
mod sockets;
#[path = "net/tools.rs"]
mod tools;
