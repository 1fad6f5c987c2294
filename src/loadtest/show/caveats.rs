//! What a reader must know before believing the figures: the notes, alike ones once.

use std::mem::discriminant;

use crate::loadtest::measure::note::Note;
use crate::loadtest::measure::summary::Summary;
use crate::loadtest::report::Report;

/// The notes of the report and of its runs. Of several runs the first with a note of a kind is
/// named, and how many more have one like it.
pub(crate) fn caveats(report: &Report) -> Vec<String> {
    struct Folded<'a> {
        run: &'a Summary,
        note: Note,
        more: usize,
    }
    let mut folded: Vec<Folded> = Vec::new();
    for run in &report.runs {
        for &note in &run.notes {
            match folded
                .iter_mut()
                .find(|first| discriminant(&first.note) == discriminant(&note))
            {
                Some(first) => first.more += 1,
                None => folded.push(Folded { run, note, more: 0 }),
            }
        }
    }
    let several = report.runs.len() > 1;
    let of_runs = folded.into_iter().map(|Folded { run, note, more }| {
        let name = if several {
            format!("{}: ", run.label)
        } else {
            String::new()
        };
        let more = match more {
            0 => String::new(),
            more => format!(" (same in {more} more)"),
        };
        format!("{name}{note}{more}")
    });
    of_runs.chain(report.notes.iter().cloned()).collect()
}
