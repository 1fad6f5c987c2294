//! When requests are meant to leave in an open loop. Pure: no clock, no threads; the moments are
//! counted from the start of the schedule.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

/// How the requests of an open loop are spaced. The texts are those of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrival {
    /// Equally far apart
    Constant,
    /// Independent of each other, as from many callers
    Poisson,
}

/// One rate, or rates that rise (or fall) in steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Requests per second in the first step.
    pub from: f64,
    /// Requests per second in the last step.
    pub to: f64,
}

impl Rates {
    /// The rate of each of `steps` steps; one if nothing changes.
    pub fn steps(self, steps: usize) -> Vec<f64> {
        if self.from == self.to || steps <= 1 {
            return vec![self.from];
        }
        (0..steps)
            .map(|step| self.from + (self.to - self.from) * step as f64 / (steps - 1) as f64)
            .collect()
    }
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        match (from.trim().parse::<f64>(), to.trim().parse::<f64>()) {
            (Ok(from), Ok(to)) if from > 0.0 && to > 0.0 && from.is_finite() && to.is_finite() => {
                Ok(Self { from, to })
            }
            _ => Err(format!(
                "invalid rate {text:?}: expected requests per second, as in 200 or 100..2000"
            )),
        }
    }
}

/// The intended moments of requests, in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrival: Arrival,
    rate: f64,
    length: f64,
    count: u64,
    /// The last moment of a Poisson schedule, in seconds.
    last: f64,
    random: Random,
}

impl Schedule {
    /// `rate` requests per second for the time `length`. A seed gives the same moments every time.
    pub(crate) fn new(arrival: Arrival, rate: f64, length: Duration, seed: u64) -> Self {
        Self {
            arrival,
            rate,
            length: length.as_secs_f64(),
            count: 0,
            last: 0.0,
            random: Random(seed),
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let moment = match self.arrival {
            // From the count, not from the last moment: rounding does not add up.
            Arrival::Constant => self.count as f64 / self.rate,
            Arrival::Poisson => self.last - (1.0 - self.random.unit()).ln() / self.rate,
        };
        self.count += 1;
        self.last = moment;
        (moment < self.length).then(|| Duration::from_secs_f64(moment))
    }
}

/// The splitmix64 generator: enough for arrivals and for noise in tensors, and the same every run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_moments_do_not_drift() {
        let moments: Vec<_> =
            Schedule::new(Arrival::Constant, 3.0, Duration::from_secs(1000), 1).collect();
        assert_eq!(moments.len(), 3000);
        assert_eq!(moments[0], Duration::ZERO);
        assert_eq!(moments[2997], Duration::from_secs(999));
    }

    #[test]
    fn poisson_moments_have_the_rate_and_the_spread() {
        let moments: Vec<_> =
            Schedule::new(Arrival::Poisson, 1000.0, Duration::from_secs(100), 7).collect();
        let count = moments.len() as f64;
        assert!((count - 100_000.0).abs() < 1500.0, "{count} arrivals");
        assert!(moments.is_sorted());
        // The gaps' standard deviation equals their mean.
        let gaps: Vec<_> = moments
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "mean {mean} ms");
        assert!((variance.sqrt() - 1.0).abs() < 0.03, "variance {variance}");
    }

    #[test]
    fn a_seed_repeats_its_moments() {
        let moments = |seed| -> Vec<_> {
            Schedule::new(Arrival::Poisson, 50.0, Duration::from_secs(1), seed).collect()
        };
        assert_eq!(moments(3), moments(3));
        assert_ne!(moments(3), moments(4));
    }

    #[test]
    fn ramps_reach_both_ends() {
        let rates: Rates = "100..1000".parse().unwrap();
        assert_eq!(rates.steps(4), [100.0, 400.0, 700.0, 1000.0]);
        assert_eq!("250".parse::<Rates>().unwrap().steps(10), [250.0]);
        for text in ["", "0", "-5", "1..", "fast", "inf"] {
            assert!(text.parse::<Rates>().is_err(), "{text}");
        }
    }
}
