//! The report as one page that needs nothing but itself: no network, no scripts, plots inline.

use std::fmt::Write as _;

use crate::loadtest::measure::summary::{Distribution, Point, Summary};
use crate::loadtest::report::{Report, ReportKind};
use crate::loadtest::show::plot::{Bar, DECADES, Line, NINES, bars, decades, lines, nines, plain};
use crate::loadtest::show::text as table;
use crate::loadtest::units::{show_milliseconds, show_rate};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#0f172a;background:#f8fafc;margin:0}\
main{max-width:1300px;margin:0 auto;padding:24px}\
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}\
.what{color:#475569}\
.figures{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}\
.figure{background:#fff;border:1px solid #e2e8f0;border-radius:8px;padding:10px 16px}\
.figure b{display:block;font-size:22px}.figure span{color:#475569;font-size:13px}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:12px}\
.plots figure{margin:0;background:#fff;border:1px solid #e2e8f0;border-radius:8px}\
svg{width:100%;height:auto;display:block}\
.held{color:#15803d}.missed{color:#b91c1c;font-weight:600}\
li{margin:2px 0}\
pre{background:#fff;border:1px solid #e2e8f0;border-radius:8px;padding:12px;overflow-x:auto;font-size:13px}";

/// Runs whose percentiles are drawn; beyond, lines cannot be told apart.
const CURVES: usize = 8;

/// The whole page.
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    let url = escape(&report.url);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load test of {url}</title><style>{STYLE}</style></head><body><main>\
         <h1>Load test of {url}</h1><div class=\"what\">{} · model {} · {} per request · {}</div>",
        report.protocol,
        escape(&report.model),
        report.batch,
        kind(report.kind),
    );
    figures(&mut page, report);
    verdicts(&mut page, report);
    notes(&mut page, report);
    page.push_str("<h2>Plots</h2><div class=\"plots\">");
    for plot in plots(report).into_iter().flatten() {
        let _ = write!(page, "<figure>{plot}</figure>");
    }
    let _ = write!(
        page,
        "</div><h2>Figures</h2><pre>{}</pre></main></body></html>",
        escape(&table::text(report))
    );
    page
}

fn figures(page: &mut String, report: &Report) {
    let Some(run) = report.runs.last() else {
        return;
    };
    let all = |of: fn(&Summary) -> u64| report.runs.iter().map(of).sum::<u64>();
    let mut figures = vec![
        (
            all(|run| run.requests.sent).to_string(),
            "requests sent".to_owned(),
        ),
        (all(|run| run.requests.ok).to_string(), "ok".to_owned()),
        (
            all(|run| run.requests.failed).to_string(),
            "failed".to_owned(),
        ),
    ];
    let mut add = |value: String, name: &str| figures.push((value, name.to_owned()));
    if let Some(rate) = report.found_rate {
        add(
            show_rate(rate),
            "requests, the highest rate that holds the SLO",
        );
    }
    if let [_] = report.runs.as_slice() {
        add(show_rate(run.images_per_second), "images");
        add(show_milliseconds(run.latency.p50_ms), "latency p50");
        add(show_milliseconds(run.latency.p99_ms), "latency p99");
        add(show_milliseconds(run.latency.max_ms), "latency max");
        if let Some(cpu) = run.cpu.target_us {
            add(format!("{cpu:.0} µs"), "target CPU per image");
        }
    }
    if let Some(comparison) = &report.comparison {
        for ratio in &comparison.ratios {
            let name = format!("A / B, {}", ratio.name);
            figures.push((format!("{:.2}", ratio.ratio), name));
        }
    }
    page.push_str("<div class=\"figures\">");
    for (value, name) in figures {
        let _ = write!(
            page,
            "<div class=\"figure\"><b>{value}</b><span>{}</span></div>",
            escape(&name)
        );
    }
    page.push_str("</div>");
}

fn verdicts(page: &mut String, report: &Report) {
    if report.verdicts.is_empty() {
        return;
    }
    page.push_str("<h2>SLO</h2><ul>");
    for verdict in &report.verdicts {
        let word = if verdict.held { "held" } else { "missed" };
        let _ = write!(
            page,
            "<li><span class=\"{word}\">{word}</span>: {}, measured {}</li>",
            escape(&verdict.bound),
            escape(&verdict.measured)
        );
    }
    page.push_str("</ul>");
}

fn notes(page: &mut String, report: &Report) {
    let of_runs = report.runs.iter().flat_map(|run| &run.notes);
    let of_runs = of_runs.map(ToString::to_string);
    let mut notes: Vec<_> = report.notes.iter().cloned().chain(of_runs).collect();
    notes.dedup();
    if notes.is_empty() {
        return;
    }
    page.push_str("<h2>Caveats</h2><ul>");
    for note in notes {
        let _ = write!(page, "<li>{}</li>", escape(&note));
    }
    page.push_str("</ul>");
}

fn plots(report: &Report) -> Vec<Option<String>> {
    let runs = &report.runs;
    vec![
        by_percentile(runs),
        over_time(runs),
        throughput(runs),
        by_rate(runs),
        errors(runs),
        stages(runs),
        metrics(runs),
    ]
}

/// Latency by percentile: each run's, and its service time where it is the only one.
fn by_percentile(runs: &[Summary]) -> Option<String> {
    let curve = |name: String, curve: &[(f64, f64)]| Line {
        name,
        points: curve
            .iter()
            .map(|&(q, ms)| (nines(q), decades(ms)))
            .collect(),
    };
    let drawn = match runs {
        [run] if run.offered.is_some() => vec![
            curve("from the intended moment".to_owned(), &run.latency.curve),
            curve("service time".to_owned(), &run.service.curve),
        ],
        runs => runs
            .iter()
            .take(CURVES)
            .map(|run| curve(run.label.clone(), &run.latency.curve))
            .collect(),
    };
    lines("Latency by percentile", &NINES, &DECADES, &drawn)
}

/// Places a run's points behind those of the runs before it.
fn in_sequence<'a>(
    runs: &'a [Summary],
    value: impl Fn(&Point) -> Option<f64> + 'a,
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut begin = 0.0;
    for run in runs {
        let of_run = run.series.iter();
        points.extend(of_run.filter_map(|point| Some((begin + point.second, value(point)?))));
        begin += run.seconds;
    }
    points
}

fn over_time(runs: &[Summary]) -> Option<String> {
    let drawn = [
        Line {
            name: "p50".to_owned(),
            points: in_sequence(runs, |point| point.p50_ms),
        },
        Line {
            name: "p99".to_owned(),
            points: in_sequence(runs, |point| point.p99_ms),
        },
    ];
    lines("Latency over time", &plain("seconds"), &plain("ms"), &drawn)
}

fn throughput(runs: &[Summary]) -> Option<String> {
    let drawn = [
        Line {
            name: "images scored".to_owned(),
            points: in_sequence(runs, |point| Some(point.images_per_second)),
        },
        Line {
            name: "requests failed".to_owned(),
            points: in_sequence(runs, |point| Some(point.failed_per_second)),
        },
    ];
    lines(
        "Throughput over time",
        &plain("seconds"),
        &plain("per second"),
        &drawn,
    )
}

/// Latency against the offered rate, where there were several.
fn by_rate(runs: &[Summary]) -> Option<String> {
    let mut by_rate: Vec<_> = runs
        .iter()
        .filter_map(|run| Some((run.offered?, &run.latency)))
        .collect();
    by_rate.sort_by(|a, b| a.0.total_cmp(&b.0));
    if by_rate.first()?.0 == by_rate.last()?.0 {
        return None;
    }
    let line = |name: &str, of: fn(&Distribution) -> f64| Line {
        name: name.to_owned(),
        points: by_rate
            .iter()
            .map(|(rate, d)| (*rate, decades(of(d))))
            .collect(),
    };
    let drawn = [line("p50", |d| d.p50_ms), line("p99", |d| d.p99_ms)];
    lines(
        "Latency by rate",
        &plain("requests per second"),
        &DECADES,
        &drawn,
    )
}

fn errors(runs: &[Summary]) -> Option<String> {
    let mut counts = std::collections::BTreeMap::new();
    for error in runs.iter().flat_map(|run| &run.errors) {
        *counts.entry(error.kind).or_insert(0) += error.count;
    }
    let drawn: Vec<_> = counts
        .into_iter()
        .map(|(kind, count)| Bar {
            name: kind.to_string(),
            length: count as f64,
            value: count.to_string(),
        })
        .collect();
    bars("Errors by code", "requests", &drawn)
}

fn stages(runs: &[Summary]) -> Option<String> {
    let drawn: Vec<_> = runs
        .last()?
        .stages
        .iter()
        .flat_map(|stage| {
            [("p50", stage.time.p50_ms), ("p99", stage.time.p99_ms)].map(|(name, ms)| Bar {
                name: format!("{} {name}", stage.name),
                length: ms,
                value: show_milliseconds(ms),
            })
        })
        .collect();
    bars("Stages of the target (server-timing)", "ms", &drawn)
}

/// The longest of the means from `/metrics`.
fn metrics(runs: &[Summary]) -> Option<String> {
    let mut means: Vec<_> = runs.last()?.metrics.iter().collect();
    means.sort_by(|a, b| b.mean_ms.total_cmp(&a.mean_ms));
    let drawn: Vec<_> = means
        .into_iter()
        .take(10)
        .map(|mean| {
            let name = mean
                .name
                .replace("{model_name=", " ")
                .replace(['{', '}', '"'], " ");
            Bar {
                name,
                length: mean.mean_ms,
                value: show_milliseconds(mean.mean_ms),
            }
        })
        .collect();
    bars("Means of the target (/metrics)", "ms", &drawn)
}

fn kind(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Closed => "closed loop",
        ReportKind::Open => "open loop",
        ReportKind::FindRate => "search for the highest rate",
        ReportKind::Compare => "comparison",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
