//! The steps of a project on a terminal: one line for each sandbox, which changes in place.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The lines. Once settled they stay as they are, and nothing is shown in place any more.
#[derive(Debug)]
pub(super) struct Live {
    all: MultiProgress,
    bars: Mutex<Option<BTreeMap<String, ProgressBar>>>,
}

impl Live {
    /// No line yet.
    pub(super) fn new() -> Self {
        Self { all: MultiProgress::new(), bars: Mutex::new(Some(BTreeMap::new())) }
    }

    /// What other progress is shown among.
    pub(super) fn all(&self) -> &MultiProgress {
        &self.all
    }

    /// Shows how a sandbox is; false if nothing is shown in place any more.
    pub(super) fn show(&self, sandbox: &str, text: &str) -> bool {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bars) = &mut *bars else { return false };
        let bar = bars.entry(sandbox.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template(" {prefix}  {wide_msg}");
            let bar = ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
                .with_prefix(sandbox.to_owned());
            self.all.add(bar)
        });
        bar.set_message(text.to_owned());
        bar.tick();
        true
    }

    /// Leaves the lines as they are; what is written next comes below them.
    pub(super) fn settle(&self) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        bars.take().into_iter().flatten().for_each(|(_, bar)| bar.abandon());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.settle();
    }
}
