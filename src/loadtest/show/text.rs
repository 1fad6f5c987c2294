//! The figures as text for a terminal.

use std::fmt::Write as _;

use crate::loadtest::measure::summary::{Distribution, ErrorCount, Summary};
use crate::loadtest::report::{Ramp, Report, ReportKind};
use crate::loadtest::show::caveats::caveats;
use crate::loadtest::units::{show_milliseconds, show_rate};
use crate::loadtest::workload::ImageSet;

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
        out.line("found", &found(report));
    }
    if let Some(ramp) = &report.ramp {
        out.line("slo", &ramp_text(ramp));
    }
    for verdict in &report.verdicts {
        let word = if verdict.held { "held" } else { "missed" };
        out.line(
            "slo",
            &format!("{word}: {}, measured {}", verdict.bound, verdict.measured),
        );
    }
    for note in caveats(report) {
        out.line("note", &note);
    }
    if let Some(reason) = &report.stopped {
        out.line("stopped", reason);
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
    if run.latency.count > 0 {
        latencies(out, run);
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
}

fn latencies(out: &mut Text, run: &Summary) {
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
}

fn many(out: &mut Text, report: &Report) {
    let judged = report.runs.iter().any(|run| run.held().is_some());
    let heading = if judged { "slo" } else { "" };
    out.line(
        "",
        &format!(
            "{:<44} {:>8} {:>7} {:>10} {:>10} {:>10} {:>10}  {heading}",
            "run", "sent", "failed", "images/s", "p50", "p99", "CPU µs"
        ),
    );
    for run in &report.runs {
        let cpu = run.cpu.target_us.map(|cpu| format!("{cpu:.0}"));
        let latency = |milliseconds| match run.latency.count {
            0 => "-".to_owned(),
            _ => show_milliseconds(milliseconds),
        };
        let held = match run.held() {
            Some(true) => "held",
            Some(false) => "missed",
            None => "",
        };
        out.line(
            "",
            &format!(
                "{:<44} {:>8} {:>7} {:>10.1} {:>10} {:>10} {:>10}  {held}",
                run.label,
                run.requests.sent,
                run.requests.failed,
                run.images_per_second,
                latency(run.latency.p50_ms),
                latency(run.latency.p99_ms),
                cpu.unwrap_or_else(|| "-".to_owned()),
            ),
        );
    }
    for error in errors(report) {
        let ErrorCount { kind, example, .. } = error.first;
        let more = match error.runs {
            1 => format!("in {}", error.run),
            runs => format!("in {runs} runs, first in {}", error.run),
        };
        let total = error.total;
        out.line(
            "error",
            &format!("{total:>7} × {kind}  \"{example}\" {more}"),
        );
    }
}

/// The failures of one kind in all runs.
struct KindOfError<'a> {
    first: &'a ErrorCount,
    /// The run of the first.
    run: &'a str,
    total: u64,
    runs: usize,
}

fn errors(report: &Report) -> Vec<KindOfError<'_>> {
    let mut kinds: Vec<KindOfError<'_>> = Vec::new();
    for run in &report.runs {
        for error in &run.errors {
            match kinds.iter_mut().find(|kind| kind.first.kind == error.kind) {
                Some(kind) => {
                    kind.total += error.count;
                    kind.runs += 1;
                }
                None => kinds.push(KindOfError {
                    first: error,
                    run: &run.label,
                    total: error.count,
                    runs: 1,
                }),
            }
        }
    }
    kinds
}

/// What a search found, in words.
pub(crate) fn found(report: &Report) -> String {
    let slo = report.slo.as_deref().unwrap_or("the SLO");
    match report.found_rate {
        Some(rate) => format!(
            "{} is the highest rate of requests with {slo}",
            show_rate(rate)
        ),
        None => format!("no rate holds {slo}"),
    }
}

/// Up to where a ramp held, in words.
pub(crate) fn ramp_text(ramp: &Ramp) -> String {
    match (ramp.held_up_to, ramp.missed_at) {
        (Some(held), Some(missed)) => format!(
            "held up to {}, missed at {}",
            show_rate(held),
            show_rate(missed)
        ),
        (Some(held), None) => format!("held at every rate, up to {}", show_rate(held)),
        (None, _) => "missed at every rate, from the lowest on".to_owned(),
    }
}

/// What was sent, in words.
pub(crate) fn images(report: &Report) -> String {
    let ImageSet {
        count,
        bytes,
        tensors,
    } = report.images;
    let things = plural(count, if tensors { "tensor" } else { "image" });
    let noise = if tensors { " of noise" } else { "" };
    format!(
        "{things}{noise}, {:.1} KiB each in the mean, {} per request",
        bytes as f64 / 1024.0 / count.max(1) as f64,
        report.batch
    )
}

fn plural(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("{count} {thing}")
    } else {
        format!("{count} {thing}s")
    }
}
