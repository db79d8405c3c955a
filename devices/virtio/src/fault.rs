//! What a driver can do wrong, and how a device that meets it goes on.

/// A driver's breach of the rules; the device stops serving and sets DEVICE_NEEDS_RESET.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestFault {
    /// The ring itself: its index ran away, or it lies where no RAM is.
    #[error("the ring is broken: {0}")]
    Ring(#[from] virtio_queue::Error),
    /// A part of the ring does not lie in one piece of RAM.
    #[error("the ring does not lie in RAM")]
    RingOutsideRam,
    /// A descriptor's number is not below the size of its table.
    #[error("descriptor {index} of a table of {size}")]
    DescriptorIndex {
        /// The number.
        index: u16,
        /// The table's size, in descriptors.
        size: u32,
    },
    /// A chain has more descriptors than its table or than [`MAX_DESCRIPTORS`](crate::MAX_DESCRIPTORS): a
    /// loop, most likely.
    #[error("a chain of more than {0} descriptors")]
    ChainTooLong(u32),
    /// A chain has more bytes than the device takes.
    #[error("a chain of more than {0} bytes")]
    ChainTooLarge(u64),
    /// A buffer or an indirect table lies where no RAM is.
    #[error("{len_bytes} bytes at {addr:#x} are not all RAM")]
    OutsideRam {
        /// Guest physical address.
        addr: u64,
        /// Length, in bytes.
        len_bytes: u32,
    },
    /// A buffer the device reads follows one it writes (VIRTIO 1.3 §2.7.4.2).
    #[error("a readable buffer follows a writable one")]
    ReadableAfterWritable,
    /// An indirect table where none may be, or one of a length that is none (VIRTIO 1.3 §2.7.5.3.1).
    #[error("indirect table: {0}")]
    Indirect(&'static str),
    /// A request that is none of this device's; devices that can say so in their answer do that instead.
    #[error("malformed request: {0}")]
    Request(&'static str),
}

/// Why a device's worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The driver's doing.
    #[error(transparent)]
    Guest(#[from] GuestFault),
    /// The host's doing.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl ServiceError {
    /// For `map_err`: says what was tried when the operating system refused it.
    pub fn host(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Host { what, source }
    }
}
