//! `version`: of the program and of the guest inside it.

use serde::Serialize;

use super::args::FormatArgs;
use super::output;

#[derive(Debug, Serialize)]
struct Versions {
    monocore: &'static str,
    /// The first digits of the guest kernel's hash; nothing if none was built in.
    kernel: Option<&'static str>,
    /// The same of the guest's init.
    init: Option<&'static str>,
    platform: String,
}

pub(super) fn main(args: FormatArgs) -> anyhow::Result<()> {
    let versions = Versions {
        monocore: env!("CARGO_PKG_VERSION"),
        kernel: monocore_guest::kernel().ok().map(|kernel| kernel.id()),
        init: monocore_guest::initramfs_id().ok(),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    };
    output::listing(args.format, &versions, |versions| {
        let none = "none in this build";
        format!(
            "monocore {} ({})\nguest kernel {}\nguest init {}\n",
            versions.monocore,
            versions.platform,
            versions.kernel.unwrap_or(none),
            versions.init.unwrap_or(none)
        )
    })
}
