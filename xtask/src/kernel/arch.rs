//! What differs between the architectures a guest kernel is built for.

use clap::ValueEnum;

/// An architecture of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Arch {
    /// A PVH guest, an ELF file.
    #[value(name = "x86_64")]
    X86_64,
    /// A guest described by a device tree, an `Image`.
    Aarch64,
}

impl Arch {
    /// The architecture this machine runs.
    pub(crate) fn host() -> Self {
        if std::env::consts::ARCH == "aarch64" { Self::Aarch64 } else { Self::X86_64 }
    }

    /// Rust's name of it, which also names folders and configuration fragments.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// `make`'s variables.
    pub(super) fn make_variables(self) -> Vec<&'static str> {
        match (self, Self::host() == self) {
            (Self::X86_64, true) => vec!["ARCH=x86_64"],
            (Self::X86_64, false) => vec!["ARCH=x86_64", "CROSS_COMPILE=x86_64-linux-gnu-"],
            (Self::Aarch64, true) => vec!["ARCH=arm64"],
            (Self::Aarch64, false) => vec!["ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"],
        }
    }

    /// The packages of a cross compiler, where one is needed.
    pub(super) fn packages(self) -> &'static [&'static str] {
        match (self, Self::host() == self) {
            (_, true) => &[],
            (Self::X86_64, false) => &["gcc-x86-64-linux-gnu"],
            (Self::Aarch64, false) => &["gcc-aarch64-linux-gnu"],
        }
    }

    /// The target given to `make`.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "vmlinux",
            Self::Aarch64 => "Image",
        }
    }

    /// Where `make` leaves the image, below the folder of objects.
    pub(super) fn built(self) -> &'static str {
        match self {
            Self::X86_64 => "vmlinux",
            Self::Aarch64 => "arch/arm64/boot/Image",
        }
    }

    /// The image's name in the cache.
    pub(super) fn product(self) -> &'static str {
        self.target()
    }

    /// Whether the image is an ELF file, with symbols to strip.
    pub(super) fn is_elf(self) -> bool {
        self == Self::X86_64
    }
}
