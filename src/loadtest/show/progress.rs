//! The line on the terminal while a run goes on. Silent where there is no terminal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use crate::loadtest::measure::record::Recorder;
use crate::loadtest::show::units::{milliseconds, show_milliseconds, show_rate};

const INTERVAL: Duration = Duration::from_millis(500);

/// Shown until it is dropped.
pub(in crate::loadtest) struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    pub(in crate::loadtest) fn start(label: String, recorder: Arc<Recorder>) -> Self {
        let bar = ProgressBar::new_spinner();
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            let mut before = (Instant::now(), 0);
            loop {
                tokio::time::sleep(INTERVAL).await;
                let glance = recorder.glance();
                let now = Instant::now();
                let seconds = (now - before.0).as_secs_f64();
                let rate = (glance.answered - before.1) as f64 / seconds;
                before = (now, glance.answered);
                let errors: Vec<_> = glance
                    .faults
                    .iter()
                    .map(|(fault, count)| format!("{fault}: {count}"))
                    .collect();
                shown.set_message(format!(
                    "{label}: {}, p50 {}, p99 {}, errors {}",
                    show_rate(rate),
                    show_milliseconds(milliseconds(glance.p50)),
                    show_milliseconds(milliseconds(glance.p99)),
                    if errors.is_empty() {
                        "none".to_owned()
                    } else {
                        errors.join(", ")
                    },
                ));
                shown.tick();
            }
        });
        Self { bar, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}
