//! How much a device may move: a token bucket for each way.

use std::time::{Duration, Instant};

/// Who waits goes on once there is room for what comes in so long; sooner, each look would be for next to nothing.
const STEP: Duration = Duration::from_millis(10);

/// The most that goes at once, as a rule, bytes.
const LONGEST_BYTES: u64 = 64 << 10;

/// So much a second in the long run, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second; 0 counts as 1.
    pub bytes_per_second: u64,
    /// Bytes that may go at once after a rest.
    pub burst_bytes: u64,
}

/// Rates of both ways; nothing where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// What the guest sends.
    pub from_guest: Option<Rate>,
    /// What the guest receives.
    pub to_guest: Option<Rate>,
}

/// A bucket that fills with tokens, one for each byte, and is emptied by what goes. Something may go while there is any token,
/// however long it is: what it lacks is owed, so that frames longer than the burst go, too, and the rate holds all the same.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: u64,
    /// How long it takes to fill it.
    depth: Duration,
    /// When it is full.
    full: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let bytes_per_second = rate.bytes_per_second.max(1);
        Self { rate: bytes_per_second, depth: time(rate.burst_bytes.max(1), bytes_per_second), full: None }
    }

    /// Takes tokens for `bytes` that went at `now`.
    pub fn spend(&mut self, bytes: usize, now: Instant) {
        let full = self.full.map_or(now, |full| full.max(now));
        // A time that cannot be told is one that nobody lives to see.
        self.full = Some(full.checked_add(time(bytes as u64, self.rate)).unwrap_or(full));
    }

    /// When something may go again; nothing if it may at `now`.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        let missing = self.full?.checked_duration_since(now)?;
        (missing >= self.depth).then(|| now + (missing - self.depth) + self.depth.min(STEP))
    }

    /// Whether so much is owed at `now`, another burst and something of the longest, that even what cannot wait must not go.
    pub fn is_deep_in_debt(&self, now: Instant) -> bool {
        let missing = self.full.and_then(|full| full.checked_duration_since(now)).unwrap_or_default();
        missing.saturating_sub(self.depth) >= self.depth.saturating_add(time(LONGEST_BYTES, self.rate))
    }
}

/// How long `bytes` take at `rate` bytes a second.
fn time(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(bytes_per_second: u64, burst_bytes: u64) -> Bucket {
        Bucket::new(Rate { bytes_per_second, burst_bytes })
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_its_rate() {
        let (mut bucket, start) = (bucket(1000, 500), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..5 {
            assert_eq!(bucket.wait(start), None);
            bucket.spend(100, start);
        }
        // Empty; woken when there are ten milliseconds' worth.
        assert_eq!(bucket.wait(start), Some(at(10)));
        assert_eq!(bucket.wait(at(1)), None);
        bucket.spend(100, at(1));
        assert_eq!(bucket.wait(at(1)), Some(at(110)));
        assert_eq!(bucket.wait(at(101)), None);
        // After a long rest it holds no more than the burst.
        for _ in 0..5 {
            assert_eq!(bucket.wait(at(60_000)), None);
            bucket.spend(100, at(60_000));
        }
        assert!(bucket.wait(at(60_000)).is_some());
    }

    #[test]
    fn what_is_longer_than_the_burst_goes_and_is_owed() {
        let (mut bucket, start) = (bucket(1000, 10), Instant::now());
        assert_eq!(bucket.wait(start), None);
        bucket.spend(65_000, start);
        assert_eq!(bucket.wait(start), Some(start + Duration::from_secs(65)));
        assert!(bucket.wait(start + Duration::from_millis(64_980)).is_some());
        assert_eq!(bucket.wait(start + Duration::from_millis(64_999)), None);
        // What cannot wait goes on for one more burst and 65,536 bytes.
        assert!(!bucket.is_deep_in_debt(start));
        bucket.spend(556, start);
        assert!(bucket.is_deep_in_debt(start) && !bucket.is_deep_in_debt(start + Duration::from_secs(1)));
    }

    #[test]
    fn no_number_is_too_large_or_too_small() {
        for rate in [0, 1, u64::MAX] {
            for burst in [0, 1, u64::MAX] {
                let (mut bucket, now) = (bucket(rate, burst), Instant::now());
                assert_eq!(bucket.wait(now), None);
                for _ in 0..100 {
                    bucket.spend(usize::MAX, now);
                    let _ = bucket.wait(now);
                }
            }
        }
    }

    proptest! {
        /// Whoever asks before each frame gets the rate, but for the burst and one frame.
        #[test]
        fn the_rate_holds(rate in 1_000..1_000_000_000u64, burst in 1..10_000_000u64, frames in prop::collection::vec(1..65_536usize, 1..300)) {
            let (mut bucket, start) = (bucket(rate, burst), Instant::now());
            let (mut now, mut sent) = (start, 0u128);
            for frame in frames {
                while let Some(at) = bucket.wait(now) {
                    prop_assert!(at > now);
                    now = at;
                }
                let allowed = u128::from(burst) + (now - start).as_nanos() * u128::from(rate) / 1_000_000_000;
                prop_assert!(sent <= allowed + 300, "{} of {}", sent, allowed);
                bucket.spend(frame, now);
                sent += frame as u128;
            }
            // Nor does it wait longer than it must.
            let needed = sent.saturating_sub(u128::from(burst)) * 1_000_000_000 / u128::from(rate);
            prop_assert!((now - start).as_nanos() <= needed + STEP.as_nanos() + 1_000);
        }
    }
}
