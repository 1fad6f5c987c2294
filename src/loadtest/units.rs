//! Times and rates as they are typed and as they are shown.

use std::time::Duration;

/// Reads `20ms`, `1.5s`, `2m`, `300us`; a bare number is seconds.
///
/// # Errors
///
/// The text that clap shows behind the flag's name.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "unknown unit in {text:?}: expected us, ms, s, m or h"
            ));
        }
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * seconds).ok())
        .ok_or_else(|| format!("invalid duration {text:?}: expected for example 20ms or 10s"))
}

/// Milliseconds with the digits that matter.
pub(crate) fn show_milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms >= 10_000.0 => format!("{:.2} s", ms / 1e3),
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms if ms >= 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.3} ms"),
    }
}

/// A number of things per second with the digits that matter.
pub(crate) fn show_rate(rate: f64) -> String {
    let digits = if rate >= 100.0 { 0 } else { 1 };
    format!("{rate:.digits$}/s")
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, milliseconds) in [
            ("20ms", 20.0),
            ("1.5s", 1500.0),
            ("10", 10_000.0),
            ("2m", 120_000.0),
            ("250us", 0.25),
        ] {
            let read = parse_duration(text).unwrap();
            assert_eq!(read.as_secs_f64() * 1e3, milliseconds, "{text}");
        }
        for text in ["", "ms", "-1s", "5 parsecs", "1.2.3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
