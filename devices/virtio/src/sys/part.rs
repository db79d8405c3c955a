//! A piece of guest RAM that moves between threads with whatever holds it.

#![allow(unsafe_code, reason = "a promise about threads")]

use std::ops::Deref;

use vm_memory::VolatileSlice;

/// A part of a ring.
#[derive(Clone, Copy)]
pub(crate) struct Part<'m>(pub(crate) VolatileSlice<'m>);

// SAFETY: the slice is a pointer into RAM that stays mapped for `'m`, used by volatile or atomic accesses only, and that all
// CPUs of the guest change meanwhile anyway: the thread that does it makes no difference.
unsafe impl Send for Part<'_> {}

impl<'m> Deref for Part<'m> {
    type Target = VolatileSlice<'m>;

    fn deref(&self) -> &VolatileSlice<'m> {
        &self.0
    }
}
