//! How many processors, and how much of their time: `--cpus`, or Docker's quota and period.

use anyhow::bail;
use clap::Args;
use monocore_orchestrator::spec::{self, Cpus, MAX_VCPUS};

/// Docker's period where none is given, microseconds.
const PERIOD_US: u32 = 100_000;

#[derive(Debug, Args)]
pub(super) struct CpuArgs {
    /// How many virtual CPUs; of a fraction, the commands have that much time of the next whole number
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Machine", value_parser = spec::parse_cpu_limit)]
    cpus: Cpus,
    /// CPU time for each period, microseconds; as --cpus QUOTA/PERIOD
    #[arg(long, value_name = "QUOTA", help_heading = "Machine", allow_negative_numbers = true, value_parser = quota)]
    #[arg(conflicts_with = "cpus")]
    cpu_quota: Option<u32>,
    /// The period of --cpu-quota, microseconds [default: 100000]
    #[arg(long, value_name = "PERIOD", help_heading = "Machine", value_parser = period, conflicts_with = "cpus")]
    cpu_period: Option<u32>,
}

impl CpuArgs {
    /// The processors that the flags together ask for.
    pub(super) fn total(&self) -> anyhow::Result<Cpus> {
        let Some(quota) = self.cpu_quota.filter(|quota| *quota > 0) else { return Ok(self.cpus) };
        let period = self.cpu_period.filter(|period| *period > 0).unwrap_or(PERIOD_US);
        let millis = (u64::from(quota) * 1000).div_ceil(u64::from(period));
        match spec::parse_cpu_limit(&format!("{}.{:03}", millis / 1000, millis % 1000)) {
            Ok(cpus) => Ok(cpus),
            Err(_) => bail!("--cpu-quota {quota} in a period of {period} is more than {MAX_VCPUS} CPUs"),
        }
    }
}

/// Reads a quota; 0 and -1 are none.
fn quota(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0 | -1) => Ok(0),
        Ok(quota) if quota >= 1000 => u32::try_from(quota).map_err(|_| "it is too large".to_owned()),
        Ok::<i64, _>(_) => Err("give at least 1000 microseconds, or -1 for no limit".to_owned()),
        Err(_) => Err("give a number of microseconds".to_owned()),
    }
}

/// Reads a period; 0 is the usual one.
fn period(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(period @ (0 | 1000..=1_000_000)) => Ok(period),
        _ => Err("give 1000 to 1000000 microseconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        cpus: CpuArgs,
    }

    fn total(flags: &[&str]) -> Option<(u8, Option<u32>)> {
        let flags = Flags::try_parse_from([&["run"], flags].concat()).ok()?;
        flags.cpus.total().ok().map(|cpus| (cpus.vcpus, cpus.limit_millis))
    }

    #[test]
    fn a_quota_is_a_number_of_cpus() {
        assert_eq!(total(&[]), Some((1, None)));
        assert_eq!(total(&["--cpus", "1.5"]), Some((2, Some(1500))));
        assert_eq!(total(&["--cpu-quota", "50000"]), Some((1, Some(500))));
        assert_eq!(total(&["--cpu-quota", "50000", "--cpu-period", "20000"]), Some((3, Some(2500))));
        assert_eq!(total(&["--cpu-quota=200000"]), Some((2, None)));
        assert_eq!(total(&["--cpu-quota", "-1"]), Some((1, None)));
        assert_eq!(total(&["--cpu-period", "1000"]), Some((1, None)));
        for wrong in [
            &["--cpu-quota", "999"][..],
            &["--cpu-period", "999"],
            &["--cpu-period", "1000001"],
            &["--cpu-quota", "1000000", "--cpu-period", "1000"],
            &["--cpu-quota", "50000", "--cpus", "1"],
        ] {
            assert_eq!(total(wrong), None, "{wrong:?}");
        }
    }
}
