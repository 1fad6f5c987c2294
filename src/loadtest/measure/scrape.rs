//! What the target says about its own time: the `server-timing` header of each answer, and the
//! histograms of `/metrics` before and after a run.

use std::collections::BTreeMap;

use http::HeaderMap;

use crate::loadtest::measure::summary::Mean;
use crate::loadtest::target::Target;

/// Sum in seconds and count of each duration, by its name with labels.
pub(in crate::loadtest) type Metrics = BTreeMap<String, (f64, f64)>;

/// Names and milliseconds, as in `parse;dur=0.1, total;dur=2`.
pub(in crate::loadtest) fn server_timing(headers: &HeaderMap) -> Vec<(String, f64)> {
    let Some(text) = headers.get("server-timing").and_then(|h| h.to_str().ok()) else {
        return Vec::new();
    };
    text.split(',')
        .filter_map(|stage| {
            let (name, rest) = stage.split_once(';')?;
            let duration = rest
                .split(';')
                .find_map(|p| p.trim().strip_prefix("dur="))?;
            Some((name.trim().to_owned(), duration.trim().parse().ok()?))
        })
        .collect()
}

/// The durations at `/metrics`; none where there is no such page.
pub(in crate::loadtest) async fn metrics(target: &Target) -> Metrics {
    let page = target.page("/metrics").await.unwrap_or_default();
    durations(&String::from_utf8_lossy(&page))
}

fn durations(page: &str) -> Metrics {
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
            found.entry(name).or_default().0 = value;
        } else if name.contains("_seconds_count") {
            let name = name.replacen("_seconds_count", "", 1);
            found.entry(name).or_default().1 = value;
        }
    }
    found
}

/// The mean of what was added between two looks.
pub(in crate::loadtest) fn means(before: &Metrics, after: &Metrics) -> Vec<Mean> {
    after
        .iter()
        .filter_map(|(name, (sum, count))| {
            let (sum_before, count_before) = before.get(name).copied().unwrap_or_default();
            let count = count - count_before;
            (count > 0.0).then(|| Mean {
                name: name.clone(),
                count: count as u64,
                mean_ms: (sum - sum_before) / count * 1e3,
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
        assert_eq!(server_timing(&headers), []);
        let text = "parse;dur=0.125, cache;desc=\"hit\", total;desc=all;dur=2";
        headers.insert("server-timing", HeaderValue::from_static(text));
        let expected = [("parse".to_owned(), 0.125), ("total".to_owned(), 2.0)];
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
