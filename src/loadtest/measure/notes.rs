//! Looks for what limits the figures of a run, so that nobody believes more than they say.

use crate::loadtest::measure::note::Note;
use crate::loadtest::measure::record::Silence;
use crate::loadtest::measure::series::CAPACITY_EXCEEDED;
use crate::loadtest::measure::summary::{ConnectionUse, Summary};
use crate::loadtest::units::milliseconds;

/// From this lag at p99 on, in milliseconds, a run is said to have sent late.
const LATE_MS: f64 = 2.0;

/// Pieces into which a run is cut to see whether it was steady: eight, so that one odd slot of the
/// time series does not decide.
const PIECES: usize = 8;

/// The spread of the pieces' rates, as a share of their median, above which a run was not steady.
const UNSTEADY: f64 = 0.3;

/// The notes on a run.
pub(crate) fn notes(summary: &Summary, silence: Silence, connections: ConnectionUse) -> Vec<Note> {
    let mut notes = Vec::new();
    if summary.offered.is_none() {
        notes.push(Note::ClosedLoop);
    }
    if summary.requests.sent == 0 {
        notes.push(Note::NothingCounted);
        return notes;
    }
    notes.extend(long_silence(summary, silence));
    if summary.offered.is_some() {
        notes.extend(lateness(summary, connections));
        if summary.growth > CAPACITY_EXCEEDED {
            notes.push(Note::AboveCapacity {
                growth_ms: summary.growth * 1e3,
            });
        }
    }
    if summary.cpu.target_seconds.is_some_and(|used| used < 1.0) {
        notes.push(Note::LittleCpu);
    }
    notes.extend(unsteady(summary));
    notes
}

/// A silence that is long beside the usual time between two responses.
fn long_silence(summary: &Summary, silence: Silence) -> Option<Note> {
    let usual = 5.0 * summary.seconds / summary.requests.sent as f64;
    let long = (0.01 * summary.latency.p50_ms).max(usual).max(0.05);
    (silence.length.as_secs_f64() > long).then(|| Note::Silence {
        length_ms: milliseconds(silence.length),
        began: silence.began.as_secs_f64(),
    })
}

fn lateness(summary: &Summary, connections: ConnectionUse) -> Option<Note> {
    let lag_ms = summary.send_lag.p99_ms;
    if lag_ms <= LATE_MS {
        return None;
    }
    Some(if connections.open >= connections.max {
        Note::ConnectionsBusy {
            max: connections.max,
            lag_ms,
        }
    } else {
        Note::SentLate { lag_ms }
    })
}

/// Whether the throughput of whole pieces of the run lies far from the usual one.
fn unsteady(summary: &Summary) -> Option<Note> {
    // The ends are cut: the first slot begins and the last one ends somewhere within.
    let inner = summary
        .series
        .get(1..summary.series.len().saturating_sub(1))?;
    if inner.len() < PIECES {
        return None;
    }
    let piece = inner.len() / PIECES;
    let mut rates: Vec<_> = inner
        .chunks_exact(piece)
        .map(|slots| {
            let sum: f64 = slots.iter().map(|slot| slot.images_per_second).sum();
            sum / piece as f64
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let (least, middle, most) = (*rates.first()?, rates[rates.len() / 2], *rates.last()?);
    (most - least > UNSTEADY * middle).then_some(Note::Unsteady {
        least,
        middle,
        most,
    })
}
