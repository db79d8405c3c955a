//! Resource limits: `nofile=1024:4096`.

use monocore_protocol::{Resource, Rlimit};

use super::ParseError;

/// For the message that lists what can be limited.
const NAMES: &str = "as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, \
                     sigpending, stack";

/// `name=soft[:hard]`; `-1` or `unlimited` lifts the limit, a missing hard limit equals the soft one.
///
/// # Errors
/// An unknown name, no number, or a soft limit above the hard one.
pub fn parse_ulimit(text: &str) -> Result<Rlimit, ParseError> {
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| ParseError::new(text, "give NAME=SOFT[:HARD], for instance nofile=1024:4096"))?;
    let resource = Resource::from_name(name)
        .ok_or_else(|| ParseError::new(text, format!("no limit is called {name:?}; there are {NAMES}")))?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(text, soft)?, limit(text, hard)?);
    if soft > hard {
        return Err(ParseError::new(text, "the soft limit is above the hard one"));
    }
    Ok(Rlimit { resource, soft, hard })
}

fn limit(text: &str, number: &str) -> Result<u64, ParseError> {
    match number {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => number.parse().map_err(|_| ParseError::new(text, format!("{number:?} is no limit"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_with_and_without_a_hard_limit() {
        assert_eq!(
            parse_ulimit("nofile=10:20"),
            Ok(Rlimit { resource: Resource::Nofile, soft: 10, hard: 20 })
        );
        assert_eq!(parse_ulimit("core=0"), Ok(Rlimit { resource: Resource::Core, soft: 0, hard: 0 }));
        assert_eq!(parse_ulimit("memlock=-1:unlimited").map(|u| u.soft), Ok(u64::MAX));
        for bad in ["nofile", "nofile=", "nofile=x", "nope=1", "nofile=2:1", "nofile=1:2:3"] {
            assert!(parse_ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_listed_name_is_known() {
        for name in NAMES.split(", ") {
            assert!(Resource::from_name(name).is_some(), "{name}");
        }
    }
}
