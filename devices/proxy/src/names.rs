//! Which names resolved to which address, for as long as their answers were good.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Beyond its time to live, an answer counts for so long: programs connect a moment after they asked.
const GRACE: Duration = Duration::from_secs(30);
/// No answer counts for longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The most pairs of address and name that are kept; the guest chooses what it asks for.
const MAX_PAIRS: usize = 8192;
/// The most names of one address.
const MAX_NAMES: usize = 64;

/// Names by address.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_address: HashMap<IpAddr, Vec<String>>,
    until: HashMap<(IpAddr, String), Instant>,
    /// The order in which pairs end; one entry a pair.
    ends: BTreeMap<(Instant, IpAddr, String), ()>,
}

impl Names {
    /// `name` resolved to `address` at `now`, for `ttl`. Names are in lower case, without a dot at their end.
    pub(crate) fn record(&mut self, name: &str, address: IpAddr, ttl: Duration, now: Instant) {
        self.expire(now);
        let until = now + ttl.min(LONGEST) + GRACE;
        let key = (address, name.to_owned());
        match self.until.get(&key) {
            Some(old) if *old >= until => return,
            Some(old) => {
                self.ends.remove(&(*old, address, key.1.clone()));
            }
            None => {
                if self.until.len() >= MAX_PAIRS {
                    self.drop_first();
                }
                self.make_room(address);
                self.by_address.entry(address).or_default().push(key.1.clone());
            }
        }
        self.ends.insert((until, address, key.1.clone()), ());
        self.until.insert(key, until);
    }

    /// The names that `address` has at `now`.
    pub(crate) fn of(&mut self, address: IpAddr, now: Instant) -> &[String] {
        self.expire(now);
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    fn expire(&mut self, now: Instant) {
        while self.ends.first_key_value().is_some_and(|((until, ..), ())| *until <= now) {
            self.drop_first();
        }
    }

    /// Forgets the oldest name of an address that has very many.
    fn make_room(&mut self, address: IpAddr) {
        let Some(names) = self.by_address.get_mut(&address).filter(|names| names.len() >= MAX_NAMES) else {
            return;
        };
        let key = (address, names.remove(0));
        if let Some(until) = self.until.remove(&key) {
            self.ends.remove(&(until, key.0, key.1));
        }
    }

    fn drop_first(&mut self) {
        let Some(((_, address, name), ())) = self.ends.pop_first() else { return };
        if let Some(names) = self.by_address.get_mut(&address) {
            names.retain(|other| *other != name);
            if names.is_empty() {
                self.by_address.remove(&address);
            }
        }
        self.until.remove(&(address, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([1, 1, 1, last])
    }

    #[test]
    fn a_name_counts_until_its_answer_ends() {
        let (mut names, start) = (Names::default(), Instant::now());
        names.record("a", address(1), Duration::from_secs(60), start);
        names.record("b", address(1), Duration::ZERO, start);
        names.record("a", address(2), Duration::MAX, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(names.of(address(1), at(29)), ["a", "b"]);
        assert_eq!(names.of(address(1), at(31)), ["a"]);
        // A shorter answer takes nothing back, a longer one does prolong.
        names.record("a", address(1), Duration::ZERO, at(40));
        names.record("a", address(1), Duration::from_secs(100), at(50));
        assert_eq!(names.of(address(1), at(179)), ["a"]);
        assert!(names.of(address(1), at(180)).is_empty());
        assert!(names.of(address(2), start + LONGEST + GRACE).is_empty());
        assert!(names.until.is_empty() && names.ends.is_empty() && names.by_address.is_empty());
    }

    #[test]
    fn a_guest_that_asks_for_everything_is_bounded() {
        let (mut names, now) = (Names::default(), Instant::now());
        for number in 0..MAX_PAIRS * 2 {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            names.record("a", address, Duration::from_secs(number as u64), now);
        }
        assert_eq!(
            (names.until.len(), names.ends.len(), names.by_address.len()),
            (MAX_PAIRS, MAX_PAIRS, MAX_PAIRS)
        );
        let mut names = Names::default();
        for number in 0..MAX_NAMES * 2 {
            names.record(&number.to_string(), address(1), Duration::ZERO, now);
        }
        assert_eq!(names.of(address(1), now).len(), MAX_NAMES);
        assert_eq!(names.until.len(), names.ends.len());
    }
}
