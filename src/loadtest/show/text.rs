//! The figures as text for a terminal.

use std::fmt::Write as _;
use std::mem::discriminant;

use crate::loadtest::measure::note::Note;
use crate::loadtest::measure::summary::{Distribution, Summary};
use crate::loadtest::report::{Report, ReportKind};
use crate::loadtest::units::{show_milliseconds, show_rate};

/// The whole report as text.
pub fn text(report: &Report) -> String {
    let mut out = Text(String::new());
    out.line(
        "target",
        &format!(
            "{}  {}  model {}  {} per request",
            report.url,
            report.protocol,
            report.model,
            plural(report.batch, "image"),
        ),
    );
    if let [run] = report.runs.as_slice() {
        one(&mut out, run);
    } else {
        many(&mut out, report);
    }
    if let Some(comparison) = &report.comparison {
        out.line("A", &comparison.a);
        out.line("B", &comparison.b);
        out.line(
            "",
            "                              A            B      A / B   from … to",
        );
        for ratio in &comparison.ratios {
            out.line(
                "",
                &format!(
                    "{:<22} {:>11.3} {:>12.3} {:>10.3}   {:.3} … {:.3}",
                    ratio.name, ratio.a, ratio.b, ratio.ratio, ratio.least, ratio.greatest
                ),
            );
        }
    }
    if report.kind == ReportKind::FindRate {
        let found = match report.found_rate {
            Some(rate) => format!("{} is the highest rate that holds the SLO", show_rate(rate)),
            None => "no rate holds the SLO".to_owned(),
        };
        out.line("found", &found);
    }
    for verdict in &report.verdicts {
        let word = if verdict.held { "held" } else { "missed" };
        out.line(
            "slo",
            &format!("{word}: {}, measured {}", verdict.bound, verdict.measured),
        );
    }
    for note in &report.notes {
        out.line("note", note);
    }
    out.0
}

/// A row of the latency table.
type Percentile = fn(&Distribution) -> f64;

struct Text(String);

impl Text {
    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name:<10} {value}");
    }
}

fn one(out: &mut Text, run: &Summary) {
    out.line("load", &run.label);
    let requests = &run.requests;
    out.line(
        "requests",
        &format!(
            "{} sent in {:.2} s = {} ok + {} failed; warm-up of {} left out",
            requests.sent, run.seconds, requests.ok, requests.failed, requests.warmup
        ),
    );
    out.line(
        "images",
        &format!(
            "{} scored, {}",
            run.images,
            show_rate(run.images_per_second)
        ),
    );
    for error in &run.errors {
        let example = if error.example.is_empty() {
            String::new()
        } else {
            format!("  \"{}\"", error.example)
        };
        out.line(
            "error",
            &format!("{:>7} × {}{example}", error.count, error.kind),
        );
    }
    let open = run.offered.is_some();
    out.line(
        "latency",
        if open {
            "from the intended moment   service time alone   sending late"
        } else {
            "from the sending"
        },
    );
    let rows: [(&str, Percentile); 6] = [
        ("mean", |d| d.mean_ms),
        ("p50", |d| d.p50_ms),
        ("p90", |d| d.p90_ms),
        ("p99", |d| d.p99_ms),
        ("p99.9", |d| d.p999_ms),
        ("max", |d| d.max_ms),
    ];
    for (name, of) in rows {
        let show = |distribution| show_milliseconds(of(distribution));
        let mut line = format!("{:>24}", show(&run.latency));
        if open {
            let _ = write!(
                line,
                "   {:>18}   {:>12}",
                show(&run.service),
                show(&run.send_lag)
            );
        }
        out.line(&format!("  {name}"), &line);
    }
    for stage in &run.stages {
        out.line(
            "stage",
            &format!(
                "{:<12} p50 {:>10}   p99 {:>10}",
                stage.name,
                show_milliseconds(stage.time.p50_ms),
                show_milliseconds(stage.time.p99_ms)
            ),
        );
    }
    for mean in &run.metrics {
        out.line(
            "metric",
            &format!(
                "{}  {} × {}",
                mean.name,
                mean.count,
                show_milliseconds(mean.mean_ms)
            ),
        );
    }
    if let Some(cpu) = run.cpu.target_us {
        let memory = run.cpu.target_mib.unwrap_or_default();
        out.line(
            "cpu",
            &format!("target {cpu:.0} µs per image, {memory:.1} MiB resident"),
        );
    }
    if let Some(cpu) = run.cpu.own_us {
        out.line("", &format!("load test {cpu:.0} µs per image"));
    }
    for note in &run.notes {
        out.line("note", &note.to_string());
    }
}

fn many(out: &mut Text, report: &Report) {
    out.line(
        "",
        &format!(
            "{:<44} {:>8} {:>7} {:>10} {:>10} {:>10} {:>10}",
            "run", "sent", "failed", "images/s", "p50", "p99", "CPU µs"
        ),
    );
    for run in &report.runs {
        let cpu = run.cpu.target_us.map(|cpu| format!("{cpu:.0}"));
        out.line(
            "",
            &format!(
                "{:<44} {:>8} {:>7} {:>10.1} {:>10} {:>10} {:>10}",
                run.label,
                run.requests.sent,
                run.requests.failed,
                run.images_per_second,
                show_milliseconds(run.latency.p50_ms),
                show_milliseconds(run.latency.p99_ms),
                cpu.unwrap_or_else(|| "-".to_owned()),
            ),
        );
    }
    for run in &report.runs {
        for error in &run.errors {
            out.line(
                "error",
                &format!(
                    "{}: {} × {}  \"{}\"",
                    run.label, error.count, error.kind, error.example
                ),
            );
        }
    }
    folded_notes(out, report);
}

/// The first note of each kind, and how many runs have one like it.
fn folded_notes(out: &mut Text, report: &Report) {
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
    for Folded { run, note, more } in folded {
        let more = match more {
            0 => String::new(),
            more => format!(" (same in {more} more)"),
        };
        out.line("note", &format!("{}: {note}{more}", run.label));
    }
}

fn plural(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("{count} {thing}")
    } else {
        format!("{count} {thing}s")
    }
}
