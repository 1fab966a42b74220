//! What is counted since the server was started, without a label that a payload could fill.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters.
#[derive(Debug, Default)]
pub struct Counts {
    /// Deliveries that meant jobs.
    pub accepted: AtomicU64,
    /// Authentic deliveries that meant none.
    pub ignored: AtomicU64,
    /// Deliveries that had come before.
    pub repeated: AtomicU64,
    /// What was not authentic.
    pub refused: AtomicU64,
    /// Jobs that were begun.
    pub begun: AtomicU64,
    /// Jobs whose process was gone.
    pub gone: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    /// In the text format of Prometheus, with how many jobs wait and run now.
    #[must_use]
    pub fn page(&self, waiting: usize, running: usize) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut page = String::new();
        page.push_str("# TYPE shipit_deliveries_total counter\n");
        for (verdict, counter) in [
            ("accepted", &self.accepted),
            ("ignored", &self.ignored),
            ("repeated", &self.repeated),
            ("refused", &self.refused),
        ] {
            let _ = writeln!(
                page,
                "shipit_deliveries_total{{verdict=\"{verdict}\"}} {}",
                of(counter)
            );
        }
        page.push_str("# TYPE shipit_jobs gauge\n");
        for (state, number) in [("waiting", waiting), ("running", running)] {
            let _ = writeln!(page, "shipit_jobs{{state=\"{state}\"}} {number}");
        }
        for (name, counter) in [("begun", &self.begun), ("gone", &self.gone)] {
            let _ = writeln!(
                page,
                "# TYPE shipit_jobs_{name}_total counter\nshipit_jobs_{name}_total {}",
                of(counter)
            );
        }
        page
    }
}
