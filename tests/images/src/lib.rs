//! Images made by hand: [`image`] builds layers and layouts, well-formed or not, [`rich`] holds three images that
//! umoci unpacks too, so that what a guest sees of them can be compared with what umoci makes.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "support of tests: what fails ends the test"
)]

pub mod image;
pub mod rich;
