//! What the tests with QEMU share.

pub(crate) mod served;
pub(crate) mod stock_guest;
