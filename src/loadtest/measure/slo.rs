//! The bounds that a run must hold: `p99=20ms,errors=0`.

use std::fmt;
use std::str::FromStr;

use crate::loadtest::measure::summary::Summary;
use crate::loadtest::measure::verdict::Verdict;
use crate::loadtest::units::{milliseconds, parse_duration, show_milliseconds};

/// Bounds that must all hold. Without one on errors, no request may fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    bounds: Vec<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// A percentile of the latency, and its limit in milliseconds.
    Percentile(f64, f64),
    /// The mean latency in milliseconds.
    Mean(f64),
    /// The longest latency in milliseconds.
    Max(f64),
    /// The share of requests that may fail.
    Errors(f64),
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bounds: Vec<_> = text.split(',').map(bound).collect::<Result<_, _>>()?;
        // A target that refuses most requests is quick with the rest.
        if !bounds.iter().any(|bound| matches!(bound, Bound::Errors(_))) {
            bounds.push(Bound::Errors(0.0));
        }
        Ok(Self { bounds })
    }
}

fn bound(text: &str) -> Result<Bound, String> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        format!("invalid bound {text:?}: expected for example p99=20ms or errors=0.1%")
    })?;
    // A bare number would be seconds, which hardly anyone means here.
    let time = || {
        if value.trim().ends_with(|last: char| last.is_ascii_digit()) {
            return Err(format!(
                "{text:?}: give a unit, as in {name}={}ms",
                value.trim()
            ));
        }
        parse_duration(value).map(milliseconds)
    };
    match name.trim() {
        "mean" => Ok(Bound::Mean(time()?)),
        "max" => Ok(Bound::Max(time()?)),
        "errors" => share(value).map(Bound::Errors),
        name => {
            let percentile = name.strip_prefix('p').and_then(|p| p.parse::<f64>().ok());
            match percentile {
                Some(p) if p > 0.0 && p < 100.0 => Ok(Bound::Percentile(p, time()?)),
                _ => Err(format!(
                    "unknown bound {name:?}: expected p50, p99 or another percentile, mean, max or errors"
                )),
            }
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number * unit)) => Ok(number * unit),
        _ => Err(format!(
            "errors={text}: expected a share, as in 0, 0.01 or 1%"
        )),
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(p, limit) => write!(f, "p{p} ≤ {}", show_milliseconds(*limit)),
            Self::Mean(limit) => write!(f, "mean ≤ {}", show_milliseconds(*limit)),
            Self::Max(limit) => write!(f, "max ≤ {}", show_milliseconds(*limit)),
            Self::Errors(share) => write!(f, "errors ≤ {} %", share * 100.0),
        }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, bound) in self.bounds.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{bound}")?;
        }
        Ok(())
    }
}

impl Slo {
    /// How a run did, bound by bound. A run in which no request succeeded
    /// holds nothing.
    pub(crate) fn judge(&self, summary: &Summary) -> Vec<Verdict> {
        let latency = &summary.latency;
        self.bounds
            .iter()
            .map(|bound| {
                let (measured, limit, shown) = match *bound {
                    Bound::Percentile(p, limit) => {
                        let measured = latency.at(p / 100.0);
                        (measured, limit, show_milliseconds(measured))
                    }
                    Bound::Mean(limit) => {
                        (latency.mean_ms, limit, show_milliseconds(latency.mean_ms))
                    }
                    Bound::Max(limit) => (latency.max_ms, limit, show_milliseconds(latency.max_ms)),
                    Bound::Errors(limit) => {
                        let share = summary.error_share();
                        (share, limit, format!("{:.3} %", share * 100.0))
                    }
                };
                Verdict {
                    bound: bound.to_string(),
                    measured: shown,
                    held: summary.requests.ok > 0 && measured <= limit,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bound_on_errors_none_may_happen() {
        let slo: Slo = "p99=20ms".parse().unwrap();
        assert_eq!(slo.bounds[1], Bound::Errors(0.0));
        assert_eq!(slo.to_string(), "p99 ≤ 20.0 ms, errors ≤ 0 %");
    }

    #[test]
    fn a_time_without_a_unit_is_refused_with_the_one_that_is_meant() {
        let error = "p99=20".parse::<Slo>().unwrap_err();
        assert_eq!(error, "\"p99=20\": give a unit, as in p99=20ms");
    }

    #[test]
    fn bounds_are_read() {
        let slo: Slo = "p99=20ms,p99.9=0.1s,max=1s,errors=1%".parse().unwrap();
        let expected = [
            Bound::Percentile(99.0, 20.0),
            Bound::Percentile(99.9, 100.0),
            Bound::Max(1000.0),
            Bound::Errors(0.01),
        ];
        assert_eq!(slo.bounds, expected);
        for text in [
            "", "p99", "p100=1ms", "p99=fast", "errors=2", "q=1ms", "p99=20",
        ] {
            assert!(text.parse::<Slo>().is_err(), "{text}");
        }
    }
}
