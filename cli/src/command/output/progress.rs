//! Progress bars, one a layer, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use monocore_oci::{Digest, Progress};

/// Shows how layers arrive; silent but for warnings where nobody watches.
#[derive(Clone, Debug)]
pub(in crate::command) struct Bars {
    shown: Option<Arc<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    all: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    /// Bars on standard error if that is a terminal and the user has not asked for quiet.
    pub(in crate::command) fn new(quiet: bool) -> Self {
        let watched = !quiet && std::io::stderr().is_terminal();
        Self { shown: watched.then(Arc::default) }
    }

    /// Bars among those of `all`.
    pub(in crate::command) fn among(all: &MultiProgress) -> Self {
        Self { shown: Some(Arc::new(Shown { all: all.clone(), layers: Mutex::default() })) }
    }
}

impl Shown {
    fn layers(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn layer_started(&self, layer: &Digest, bytes: u64) {
        let Some(shown) = &self.shown else { return };
        let template = "{prefix} [{bar:30}] {bytes:>10} / {total_bytes:<10} {bytes_per_sec}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let name: String = layer.hex().chars().take(12).collect();
        let bar = ProgressBar::new(bytes).with_style(style.progress_chars("=> ")).with_prefix(name);
        shown.layers().insert(*layer, shown.all.add(bar));
    }

    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        if let Some(shown) = &self.shown
            && let Some(bar) = shown.layers().get(layer)
        {
            bar.inc(bytes);
        }
    }

    fn layer_finished(&self, layer: &Digest) {
        if let Some(shown) = &self.shown
            && let Some(bar) = shown.layers().remove(layer)
        {
            bar.finish_and_clear();
        }
    }

    fn warning(&self, text: &str) {
        match &self.shown {
            // Above the bars, which are drawn again below it.
            Some(shown) => shown.all.suspend(|| tracing::warn!("{text}")),
            None => tracing::warn!("{text}"),
        }
    }
}
