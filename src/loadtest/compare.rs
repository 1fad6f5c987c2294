//! Two targets in turn, A B A B, so that a busy hour of the machine meets both.

use serde::Serialize;

use crate::loadtest::error::Error;
use crate::loadtest::measure::summary::{Side, Summary};
use crate::loadtest::run::Runner;
use crate::loadtest::settings::{Load, Settings};

/// Two targets side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Address and protocol of A.
    pub a: String,
    pub b: String,
    /// One for each figure that both have.
    pub ratios: Vec<Ratio>,
}

/// A figure of both targets.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// The figure with its unit.
    pub name: &'static str,
    /// The median of A's turns.
    pub a: f64,
    /// The median of B's turns.
    pub b: f64,
    /// The median of A / B within each round.
    pub ratio: f64,
    /// The smallest A / B of a round.
    pub least: f64,
    /// The largest A / B of a round.
    pub greatest: f64,
}

/// A figure that is compared, with its unit.
struct Figure {
    name: &'static str,
    of: fn(&Summary) -> Option<f64>,
}

const FIGURES: [Figure; 7] = [
    Figure {
        name: "images/s",
        of: |run| Some(run.images_per_second),
    },
    Figure {
        name: "mean ms",
        of: |run| Some(run.latency.mean_ms),
    },
    Figure {
        name: "p50 ms",
        of: |run| Some(run.latency.p50_ms),
    },
    Figure {
        name: "p90 ms",
        of: |run| Some(run.latency.p90_ms),
    },
    Figure {
        name: "p99 ms",
        of: |run| Some(run.latency.p99_ms),
    },
    Figure {
        name: "target CPU µs/image",
        of: |run| run.cpu.target_us,
    },
    Figure {
        name: "target RSS MiB",
        of: |run| run.cpu.target_mib,
    },
];

/// Runs both targets `rounds` times. `finish` takes each run as it ends.
pub(crate) async fn alternate(
    settings: &Settings,
    a: &Runner,
    b: &Runner,
    finish: impl Fn(Summary) -> Summary,
) -> Result<Vec<Summary>, Error> {
    let mut runs = Vec::new();
    for round in 1..=settings.rounds.max(1) {
        for (side, runner) in [(Side::A, a), (Side::B, b)] {
            let mut run = once(settings.load, runner).await?;
            let url = &runner.target.endpoint.url;
            run.label = format!("{side:?}{round} {url}, {}", run.label);
            run.side = Some(side);
            runs.push(finish(run));
            if runner.give_up.is_given_up() {
                return Ok(runs);
            }
        }
    }
    Ok(runs)
}

/// Compares the runs of both round by round.
pub(crate) fn comparison(a: &Runner, b: &Runner, runs: &[Summary]) -> Comparison {
    Comparison {
        a: describe(a),
        b: describe(b),
        ratios: FIGURES.iter().filter_map(|f| ratio(f, runs)).collect(),
    }
}

async fn once(load: Load, runner: &Runner) -> Result<Summary, Error> {
    match load {
        Load::Closed { concurrency, until } => Ok(runner.closed(concurrency, until).await),
        Load::Open {
            rates,
            arrival,
            length,
            ..
        } if rates.from == rates.to => Ok(runner.open(rates.from, arrival, length).await),
        _ => Err(Error::Usage(
            "--compare takes one load: --concurrency, or a --rate without a ramp".to_owned(),
        )),
    }
}

fn describe(runner: &Runner) -> String {
    let endpoint = &runner.target.endpoint;
    format!("{} ({})", endpoint.url, endpoint.protocol)
}

/// The ratio over `runs`, which are those of A and B in turn. None if one of them lacks the figure.
fn ratio(figure: &Figure, runs: &[Summary]) -> Option<Ratio> {
    let values: Vec<_> = runs.iter().map(figure.of).collect::<Option<_>>()?;
    let rounds = values.chunks_exact(2);
    let of_a = rounds.clone().map(|round| round[0]).collect();
    let of_b = rounds.clone().map(|round| round[1]).collect();
    let ratios: Vec<_> = rounds.map(|round| round[0] / round[1]).collect();
    if ratios.iter().any(|ratio| !ratio.is_finite()) {
        return None;
    }
    Some(Ratio {
        name: figure.name,
        a: median(of_a)?,
        b: median(of_b)?,
        least: ratios.iter().copied().reduce(f64::min)?,
        greatest: ratios.iter().copied().reduce(f64::max)?,
        ratio: median(ratios)?,
    })
}

/// The middle value, or the mean of the middle two; none of no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        (values[middle - 1] + upper) / 2.0
    } else {
        upper
    })
}

/// Says so when the two do not give the same scores.
pub(crate) fn different_scores(a: &Runner, b: &Runner) -> Option<String> {
    if a.target.endpoint.protocol.sends_tensors() != b.target.endpoint.protocol.sends_tensors() {
        return None;
    }
    let (of_a, of_b) = (a.verifier.scores(), b.verifier.scores());
    let pairs = of_a.iter().zip(&of_b).zip(&a.workload.names);
    let (difference, name) = pairs
        .filter_map(|((a, b), name)| Some((((*a)? - (*b)?).abs(), name)))
        .max_by(|x, y| x.0.total_cmp(&y.0))?;
    (difference > 0.0)
        .then(|| format!("scores of A and B differ by up to {difference:.2e} ({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between() {
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![3.0, 1.0, 10.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
