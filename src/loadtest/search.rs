//! The highest rate that holds an SLO: doubling until one does not, then halving the gap.

/// The search ends when the rates that hold and that do not are this close.
const PRECISION: f64 = 1.03;

/// Below this rate nothing is searched.
const LOWEST: f64 = 0.5;

/// Above this rate nothing is searched.
const HIGHEST: f64 = 1e6;

/// How a rate did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Held,
    /// Perhaps for a hiccup of the machine: another try decides.
    Missed,
    /// The rate is so far above the capacity that another try is a waste of time.
    Overloaded,
}

/// Finds the highest rate that holds; none if there is none.
pub(crate) async fn highest<E>(
    start: f64,
    mut probe: impl AsyncFnMut(f64) -> Result<Probe, E>,
) -> Result<Option<f64>, E> {
    let mut good = None;
    let mut bad = None;
    let mut rate = start.clamp(LOWEST, HIGHEST);
    loop {
        let mut outcome = probe(rate).await?;
        if outcome == Probe::Missed {
            outcome = probe(rate).await?;
        }
        if outcome == Probe::Held {
            good = Some(rate);
        } else {
            bad = Some(rate);
        }
        rate = match (good, bad) {
            (Some(good), Some(bad)) if bad / good <= PRECISION => return Ok(Some(good)),
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) if good >= HIGHEST => return Ok(Some(good)),
            (Some(good), None) => (good * 2.0).min(HIGHEST),
            (None, Some(bad)) if bad <= LOWEST => return Ok(None),
            (None, bad) => bad.unwrap_or(rate) / 2.0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn search(start: f64, mut holds: impl FnMut(f64) -> bool) -> (Option<f64>, usize) {
        let mut probes = 0;
        let found = highest(start, async |rate| {
            probes += 1;
            let outcome = if holds(rate) {
                Probe::Held
            } else {
                Probe::Missed
            };
            Ok::<_, ()>(outcome)
        })
        .await
        .unwrap();
        (found, probes)
    }

    #[tokio::test]
    async fn the_capacity_is_found_from_below_and_from_above() {
        for start in [1.0, 100.0, 50_000.0] {
            let (found, probes) = search(start, |rate| rate <= 1234.0).await;
            let found = found.unwrap();
            assert!(found <= 1234.0 && found * PRECISION >= 1234.0, "{found}");
            assert!(probes < 40, "{probes} probes");
        }
    }

    #[tokio::test]
    async fn one_hiccup_does_not_end_the_search() {
        let mut first = true;
        let (found, _) = search(100.0, |rate| {
            let hiccup = rate == 200.0 && std::mem::take(&mut first);
            rate <= 500.0 && !hiccup
        })
        .await;
        assert!(found.unwrap() > 480.0);
    }

    #[tokio::test]
    async fn a_target_that_never_holds_has_no_rate() {
        assert_eq!(search(100.0, |_| false).await.0, None);
        assert_eq!(search(100.0, |_| true).await.0, Some(HIGHEST));
    }
}
