//! The report as one page that needs nothing but itself: no network, no scripts, plots inline.

use std::fmt::Write as _;

use crate::loadtest::measure::summary::Summary;
use crate::loadtest::report::{Report, ReportKind};
use crate::loadtest::show::caveats::caveats;
use crate::loadtest::show::charts::charts;
use crate::loadtest::show::plot::escape;
use crate::loadtest::show::text::{found, images, ramp_text, text};
use crate::loadtest::units::{show_milliseconds, show_rate};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#0f172a;background:#f8fafc;margin:0}\
main{max-width:1300px;margin:0 auto;padding:24px}\
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}\
.what{color:#475569}\
.figures{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}\
.figure{background:#fff;border:1px solid #e2e8f0;border-radius:8px;padding:10px 16px}\
.figure b{display:block;font-size:22px}.figure span{color:#475569;font-size:13px}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:12px;align-items:start}\
.plots figure{margin:0;background:#fff;border:1px solid #e2e8f0;border-radius:8px}\
figcaption{padding:0 16px 12px;font-size:13px;color:#475569}\
figcaption span{display:inline-block;margin-right:16px}\
figcaption i{display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle}\
svg{width:100%;height:auto;display:block}\
.held{color:#15803d}.missed{color:#b91c1c;font-weight:600}\
li{margin:2px 0}\
table{border-collapse:collapse}td{padding:2px 16px 2px 0;vertical-align:top}td:first-child{color:#475569}\
pre{background:#fff;border:1px solid #e2e8f0;border-radius:8px;padding:12px;overflow-x:auto;font-size:13px}";

/// The whole page.
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    let title = escape(&title(report));
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>\
         <h1>{title}</h1><div class=\"what\">{}</div>",
        kind(report.kind),
    );
    if let Some(reason) = &report.stopped {
        let _ = write!(page, "<p class=\"missed\">stopped: {}</p>", escape(reason));
    }
    tiles(&mut page, report);
    verdicts(&mut page, report);
    list(&mut page, "Caveats", &caveats(report));
    page.push_str("<h2>Plots</h2><div class=\"plots\">");
    for chart in charts(report) {
        let _ = write!(page, "<figure>{chart}</figure>");
    }
    page.push_str("</div>");
    conditions(&mut page, report);
    let _ = write!(
        page,
        "<h2>Figures</h2><pre>{}</pre></main></body></html>",
        escape(&text(report))
    );
    page
}

fn title(report: &Report) -> String {
    match &report.comparison {
        Some(comparison) => format!(
            "Load test of A, {}, against B, {}",
            comparison.a, comparison.b
        ),
        None => format!("Load test of {}", report.url),
    }
}

fn kind(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Closed => "closed loop: each request follows a response",
        ReportKind::Open => "open loop: requests leave on schedule",
        ReportKind::FindRate => "search for the highest rate that holds the SLO",
        ReportKind::Compare => "two targets in turn",
    }
}

/// A figure that is seen first.
struct Tile {
    value: String,
    name: String,
}

fn tiles(page: &mut String, report: &Report) {
    let all = |of: fn(&Summary) -> u64| report.runs.iter().map(of).sum::<u64>().to_string();
    let mut tiles = Vec::new();
    let mut add = |value: String, name: &str| {
        let name = name.to_owned();
        tiles.push(Tile { value, name });
    };
    add(all(|run| run.requests.sent), "requests sent");
    add(all(|run| run.requests.ok), "ok");
    add(all(|run| run.requests.failed), "failed");
    if let Some(rate) = report.found_rate {
        add(
            show_rate(rate),
            "requests, the highest rate that holds the SLO",
        );
    }
    if let Some(rate) = report.ramp.and_then(|ramp| ramp.held_up_to) {
        add(show_rate(rate), "requests, up to which the SLO held");
    }
    if let [run] = report.runs.as_slice() {
        add(show_rate(run.images_per_second), "images");
        if run.latency.count > 0 {
            add(show_milliseconds(run.latency.p50_ms), "latency p50");
            add(show_milliseconds(run.latency.p99_ms), "latency p99");
            add(show_milliseconds(run.latency.max_ms), "latency max");
        }
        if let Some(cpu) = run.cpu.target_us {
            add(format!("{cpu:.0} µs"), "target CPU per image");
        }
    }
    for ratio in report.comparison.iter().flat_map(|c| &c.ratios) {
        add(
            format!("{:.2}", ratio.ratio),
            &format!("A / B, {}", ratio.name),
        );
    }
    page.push_str("<div class=\"figures\">");
    for Tile { value, name } in tiles {
        let _ = write!(
            page,
            "<div class=\"figure\"><b>{value}</b><span>{}</span></div>",
            escape(&name)
        );
    }
    page.push_str("</div>");
}

fn verdicts(page: &mut String, report: &Report) {
    let mut lines: Vec<_> = report
        .verdicts
        .iter()
        .map(|verdict| {
            let word = if verdict.held { "held" } else { "missed" };
            format!(
                "<span class=\"{word}\">{word}</span>: {}, measured {}",
                escape(&verdict.bound),
                escape(&verdict.measured)
            )
        })
        .collect();
    if report.kind == ReportKind::FindRate {
        lines.push(escape(&found(report)));
    }
    lines.extend(report.ramp.iter().map(|ramp| escape(&ramp_text(ramp))));
    if lines.is_empty() {
        return;
    }
    let items: String = lines
        .iter()
        .map(|line| format!("<li>{line}</li>"))
        .collect();
    let _ = write!(page, "<h2>SLO</h2><ul>{items}</ul>");
}

fn list(page: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let items = lines
        .iter()
        .map(|line| format!("<li>{}</li>", escape(line)));
    let _ = write!(
        page,
        "<h2>{heading}</h2><ul>{}</ul>",
        items.collect::<String>()
    );
}

/// All that somebody needs to make the same figures again.
fn conditions(page: &mut String, report: &Report) {
    let provenance = &report.provenance;
    let mut rows = vec![
        ("started", provenance.started.clone()),
        ("duration", format!("{:.1} s", provenance.seconds)),
        (
            "sent from",
            format!("{}, {} cores", provenance.host, provenance.cores),
        ),
        ("version", provenance.version.to_owned()),
        ("protocol", report.protocol.to_string()),
        ("model", report.model.clone()),
        ("images", images(report)),
    ];
    rows.extend(report.slo.clone().map(|slo| ("SLO", slo)));
    rows.extend(
        provenance
            .command_line
            .clone()
            .map(|line| ("command", line)),
    );
    page.push_str("<h2>Conditions</h2><table>");
    for (name, value) in rows {
        let _ = write!(page, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>");
}
