//! Durations of flags: from 1 ms to a day. Beyond it, arithmetic on clocks could overflow long
//! after the start; a time of 0 would fail every request.

use std::time::Duration;

/// The longest duration that a flag takes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest one, where 0 has no meaning of its own.
const SHORTEST: Duration = Duration::from_millis(1);

/// Checks durations and collects what is wrong with them.
pub(super) struct Durations<'a> {
    pub(super) problems: &'a mut Vec<String>,
}

impl Durations<'_> {
    /// A number of seconds, at least 1.
    pub(super) fn seconds(&mut self, flag: &str, seconds: u64) -> Duration {
        self.check(
            flag,
            Some(Duration::from_secs(seconds)),
            SHORTEST,
            "1 to 86400",
        )
    }

    /// A number of seconds; 0 is allowed.
    pub(super) fn seconds_or_zero(&mut self, flag: &str, seconds: u64) -> Duration {
        let duration = Duration::from_secs(seconds);
        self.check(flag, Some(duration), Duration::ZERO, "0 to 86400")
    }

    /// Seconds with a fraction.
    pub(super) fn fraction(&mut self, flag: &str, seconds: f64) -> Duration {
        let duration = Duration::try_from_secs_f64(seconds).ok();
        self.check(flag, duration, SHORTEST, "0.001 to 86400")
    }

    /// A number of milliseconds, at least 1.
    pub(super) fn milliseconds(&mut self, flag: &str, milliseconds: u64) -> Duration {
        let duration = Duration::from_millis(milliseconds);
        self.check(flag, Some(duration), SHORTEST, "1 to 86400000")
    }

    /// A number of milliseconds; 0 is allowed.
    pub(super) fn milliseconds_or_zero(&mut self, flag: &str, milliseconds: u64) -> Duration {
        let duration = Duration::from_millis(milliseconds);
        self.check(flag, Some(duration), Duration::ZERO, "0 to 86400000")
    }

    fn check(
        &mut self,
        flag: &str,
        duration: Option<Duration>,
        shortest: Duration,
        range: &str,
    ) -> Duration {
        match duration {
            Some(duration) if (shortest..=LONGEST).contains(&duration) => duration,
            _ => {
                self.problems
                    .push(format!("--{flag} must be from {range} (one day)"));
                shortest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_one_millisecond_to_a_day() {
        let mut problems = Vec::new();
        let mut durations = Durations {
            problems: &mut problems,
        };
        assert_eq!(durations.seconds("a", 86400), LONGEST);
        assert_eq!(durations.seconds_or_zero("a", 0), Duration::ZERO);
        assert_eq!(durations.fraction("a", 0.001), SHORTEST);
        assert!(durations.problems.is_empty());
        durations.seconds("seconds", 0);
        durations.seconds_or_zero("or_zero", u64::MAX);
        for seconds in [0.0, -1.0, 0.0009, 1e19, f64::NAN, f64::INFINITY] {
            durations.fraction("fraction", seconds);
        }
        durations.milliseconds("ms", 86_400_001);
        assert_eq!(problems.len(), 9);
        assert_eq!(problems[0], "--seconds must be from 1 to 86400 (one day)");
    }
}
