//! A route that leads nowhere. passt does not start where no route leads out, and microsandbox gives its guest no IPv4 address there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Makes it, if it is not there.
pub(crate) fn make() -> Result<()> {
    if Path::new("/sys/class/net/uplink").exists() {
        return Ok(());
    }
    for arguments in [
        "link add uplink up type dummy",
        "address add 192.0.2.1/24 dev uplink",
        "route add default via 192.0.2.2 dev uplink",
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status().context("run ip")?;
        ensure!(status.success(), "ip {arguments} ended with {status}");
    }
    Ok(())
}
