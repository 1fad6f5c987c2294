//! The figures as text for a terminal.

use std::fmt::Write as _;

use crate::loadtest::show::units::{show_milliseconds, show_rate};
use crate::loadtest::{Report, Summary};

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
    if report.kind == "find_rate" {
        let found = match report.found_rate {
            Some(rate) => format!("{} requests hold the target", show_rate(rate)),
            None => "no rate holds the target".to_owned(),
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

/// Picks a figure.
type Of = fn(&crate::loadtest::Distribution) -> f64;

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
    let rows: [(&str, Of); 6] = [
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
        out.line("note", note);
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
    // Of each kind of note the first, and in how many more runs there is one like it.
    let kind = |note: &str| {
        let end = note.find(|c: char| c == ':' || c.is_ascii_digit());
        note[..end.unwrap_or(note.len())].to_owned()
    };
    let mut notes: Vec<(&Summary, &str, usize)> = Vec::new();
    for run in &report.runs {
        for note in &run.notes {
            match notes.iter_mut().find(|said| kind(said.1) == kind(note)) {
                Some(said) => said.2 += 1,
                None => notes.push((run, note, 0)),
            }
        }
    }
    for (run, note, more) in notes {
        let more = match more {
            0 => String::new(),
            more => format!(" (the like in {more} more runs)"),
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
