//! Addresses and numbers of the guest's platform, as types of their own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A guest physical address, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gpa(pub u64);

impl Gpa {
    /// The address `offset_bytes` further on, or `None` past the end of the address space.
    pub fn checked_add(self, offset_bytes: u64) -> Option<Self> {
        self.0.checked_add(offset_bytes).map(Self)
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Where on the machine's bus something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusAddress {
    /// By a store.
    Memory(Gpa),
    /// By an OUT, on machines that have I/O ports. Cheaper than a store, whose address and value a hypervisor must find by
    /// walking page tables and decoding the instruction.
    Port(u16),
}

/// A global system interrupt: the number of an interrupt controller's input pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gsi(pub u32);
