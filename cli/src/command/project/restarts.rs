//! Restarts of services by a watch, for those that show their output.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use monocore_orchestrator::{Error, WatchObserver};

use crate::command::output;

/// How often each service was restarted, and which is being restarted.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<String, u64>,
    ended: bool,
}

impl Restarts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the service was restarted so far.
    pub(super) fn count(&self, service: &str) -> u64 {
        self.lock().services.get(service).copied().unwrap_or(0)
    }

    /// Waits until the service was restarted more often than `count` times; false when there are no more restarts.
    pub(super) fn wait(&self, service: &str, count: u64) -> bool {
        let mut state = self.lock();
        loop {
            if state.services.get(service).is_some_and(|restarts| *restarts > count) {
                return true;
            }
            if state.ended {
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No service is restarted any more.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

impl WatchObserver for Restarts {
    fn restarted(&self, service: &str) {
        *self.lock().services.entry(service.to_owned()).or_default() += 1;
        self.changed.notify_all();
    }

    fn failed(&self, service: &str, error: &Error) {
        output::warning(&format!("service {service}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_waited_for_until_there_are_no_more() {
        let restarts = Restarts::default();
        assert_eq!(restarts.count("web"), 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (restarts.wait("web", 0), restarts.wait("web", 1)));
            restarts.restarted("db");
            restarts.restarted("web");
            restarts.end();
            assert_eq!(waiting.join().unwrap(), (true, false));
        });
    }
}
