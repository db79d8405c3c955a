//! How many requests a client may make: a bucket for each, which fills with time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Buckets kept at most; clients beyond that are forgotten and begin anew.
const MOST_CLIENTS: usize = 10_000;
/// A full bucket is good for this many seconds of requests.
const BURST_SECONDS: f64 = 2.0;

/// Who makes requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Whoever has the token with this ID.
    Token(String),
    /// Whoever comes from the network without a token that is known.
    Address(IpAddr),
}

/// The buckets of all clients.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Requests a second for each client; 0 for any number.
    per_second: u32,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    requests: f64,
    at: Instant,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Counts a request; false if it is one too many.
    pub(crate) fn take(&self, client: Client, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let rate = f64::from(self.per_second);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_CLIENTS && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| bucket.filled(rate, now) < rate * BURST_SECONDS);
            if buckets.len() >= MOST_CLIENTS {
                buckets.clear();
            }
        }
        let bucket =
            buckets.entry(client).or_insert_with(|| Bucket { requests: rate * BURST_SECONDS, at: now });
        bucket.requests = bucket.filled(rate, now);
        bucket.at = now;
        let may = bucket.requests >= 1.0;
        if may {
            bucket.requests -= 1.0;
        }
        may
    }
}

impl Bucket {
    /// What is in it by now.
    fn filled(&self, rate: f64, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.requests + passed * rate).min(rate * BURST_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn address(number: u32) -> Client {
        Client::Address(Ipv4Addr::from(number).into())
    }

    #[test]
    fn each_client_has_a_rate_and_a_burst() {
        let (limit, start) = (RateLimit::new(10), Instant::now());
        let taken = |client: u32, now: Instant| (0..100).filter(|_| limit.take(address(client), now)).count();
        assert_eq!((taken(1, start), taken(1, start), taken(2, start)), (20, 0, 20));
        assert_eq!(taken(1, start + Duration::from_millis(500)), 5);
        assert_eq!(taken(1, start + Duration::from_secs(60)), 20, "no more than a burst is saved up");
        let unlimited = RateLimit::new(0);
        assert!((0..1000).all(|_| unlimited.take(address(1), start)));
    }

    #[test]
    fn many_clients_take_bounded_memory() {
        let (limit, now) = (RateLimit::new(1), Instant::now());
        for client in 0..25_000 {
            assert!(limit.take(address(client), now));
            assert!(limit.buckets.lock().unwrap().len() <= MOST_CLIENTS);
        }
    }
}
