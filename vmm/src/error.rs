//! Why a machine cannot be built or run.

use std::io;

use monocore_hypervisor::memory::MemoryError;

/// A failure to build or run a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification asks for what no machine has.
    #[error("machine specification: {0}")]
    Spec(String),
    /// A file named by the specification cannot be had.
    #[error("{file}: {source}")]
    File {
        /// Path or descriptor.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The kernel is no kernel of this architecture.
    #[error("kernel {file}: {reason}")]
    Kernel {
        /// Path or descriptor.
        file: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What is loaded does not fit into the guest's RAM.
    #[error("{what} does not fit into {ram_mib} MiB of guest RAM")]
    TooLarge {
        /// What did not fit.
        what: &'static str,
        /// The guest's RAM.
        ram_mib: u64,
    },
    /// Guest RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The hypervisor.
    #[error("hypervisor: {0}")]
    Hypervisor(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A device cannot be made from its specification.
    #[error("device {index} ({kind}): {source}")]
    Device {
        /// Its position in the specification.
        index: usize,
        /// Its kind.
        kind: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A share of a running machine can be neither added nor taken away.
    #[error("share {name}: {source}")]
    Share {
        /// The share's name.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operating system refused a thread, an event or the like.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn hypervisor(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Hypervisor(Box::new(error))
    }

    pub(crate) fn os(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Os { what, source }
    }
}
