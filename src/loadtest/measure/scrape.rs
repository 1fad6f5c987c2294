//! What the target says about its own time: the `server-timing` header of each response, and the
//! histograms of `/metrics` before and after a run.

use std::collections::BTreeMap;

use http::HeaderMap;

use serde::Serialize;

/// The durations of a `/metrics` page, by their names with labels.
pub(crate) type Metrics = BTreeMap<String, DurationTotal>;

/// A histogram of durations, without its buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DurationTotal {
    seconds: f64,
    count: f64,
}

/// A stage as one response tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StageTime {
    pub(crate) name: String,
    pub(crate) milliseconds: f64,
}

/// A duration that the target itself measured.
#[derive(Clone, Debug, Serialize)]
pub struct Mean {
    /// The metric with its labels.
    pub name: String,
    pub count: u64,
    pub mean_ms: f64,
}

/// The stages of a header such as `parse;dur=0.1, total;dur=2`.
pub(crate) fn server_timing(headers: &HeaderMap) -> Vec<StageTime> {
    let Some(text) = headers.get("server-timing").and_then(|h| h.to_str().ok()) else {
        return Vec::new();
    };
    text.split(',')
        .filter_map(|stage| {
            let (name, rest) = stage.split_once(';')?;
            let duration = rest
                .split(';')
                .find_map(|p| p.trim().strip_prefix("dur="))?;
            Some(StageTime {
                name: name.trim().to_owned(),
                milliseconds: duration.trim().parse().ok()?,
            })
        })
        .collect()
}

/// The durations on a page of Prometheus metrics.
pub(crate) fn durations(page: &str) -> Metrics {
    let mut found = Metrics::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        if name.contains("_seconds_sum") {
            let name = name.replacen("_seconds_sum", "", 1);
            found.entry(name).or_default().seconds = value;
        } else if name.contains("_seconds_count") {
            let name = name.replacen("_seconds_count", "", 1);
            found.entry(name).or_default().count = value;
        }
    }
    found
}

/// The means of what was added between two scrapes.
pub(crate) fn means(before: &Metrics, after: &Metrics) -> Vec<Mean> {
    after
        .iter()
        .filter_map(|(name, total)| {
            let before = before.get(name).copied().unwrap_or_default();
            let count = total.count - before.count;
            (count > 0.0).then(|| Mean {
                name: name.clone(),
                count: count as u64,
                mean_ms: (total.seconds - before.seconds) / count * 1e3,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_header_is_read_whatever_else_it_holds() {
        let mut headers = HeaderMap::new();
        assert!(server_timing(&headers).is_empty());
        let text = "parse;dur=0.125, cache;desc=\"hit\", total;desc=all;dur=2";
        headers.insert("server-timing", HeaderValue::from_static(text));
        let expected = [("parse", 0.125), ("total", 2.0)].map(|(name, milliseconds)| StageTime {
            name: name.to_owned(),
            milliseconds,
        });
        assert_eq!(server_timing(&headers), expected);
    }

    #[test]
    fn a_mean_is_of_what_was_added() {
        let page = |sum, count| {
            durations(&format!(
                "# HELP x y\nstage_seconds_bucket{{le=\"1\"}} 3\n\
                 stage_seconds_sum{{stage=\"read\"}} {sum}\n\
                 stage_seconds_count{{stage=\"read\"}} {count}\nup 1\n"
            ))
        };
        let means = means(&page(1.0, 10), &page(1.5, 20));
        assert_eq!(means.len(), 1);
        assert_eq!(means[0].name, "stage{stage=\"read\"}");
        assert_eq!((means[0].count, means[0].mean_ms), (10, 50.0));
    }
}
