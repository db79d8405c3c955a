//! Whole-system tests: real images, real guests, real registry. This library holds what they share.

pub mod fs_suite;
pub mod image;
pub mod names;
pub mod net_load;
pub mod share_probe;
pub mod socket_suite;
pub mod stand_in;
pub mod stock_guest;
pub mod tree;
pub mod typist;
pub mod wait;
pub mod wild;
pub mod world;
