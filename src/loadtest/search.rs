//! The highest rate that holds an SLO: doubling until one does not, then halving the gap.

/// The search ends when the rates that hold and that do not are this close.
const PRECISION: f64 = 1.03;

/// Rates below which, and above which, nothing is searched.
const LIMITS: (f64, f64) = (0.5, 1e6);

/// How a rate did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// It held.
    Held,
    /// It did not, perhaps for a hiccup of the machine: another try decides.
    Missed,
    /// It did not by far.
    FarOff,
}

/// Finds the highest rate that holds; none if there is none.
pub(super) async fn highest<E>(
    start: f64,
    mut probe: impl AsyncFnMut(f64) -> Result<Trial, E>,
) -> Result<Option<f64>, E> {
    let mut good = None;
    let mut bad = None;
    let mut rate = start.clamp(LIMITS.0, LIMITS.1);
    loop {
        let mut trial = probe(rate).await?;
        if trial == Trial::Missed {
            trial = probe(rate).await?;
        }
        if trial == Trial::Held {
            good = Some(rate);
        } else {
            bad = Some(rate);
        }
        rate = match (good, bad) {
            (Some(good), Some(bad)) if bad / good <= PRECISION => return Ok(Some(good)),
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) if good >= LIMITS.1 => return Ok(Some(good)),
            (Some(good), None) => (good * 2.0).min(LIMITS.1),
            (None, Some(bad)) if bad <= LIMITS.0 => return Ok(None),
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
            let trial = if holds(rate) {
                Trial::Held
            } else {
                Trial::Missed
            };
            Ok::<_, ()>(trial)
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
        assert_eq!(search(100.0, |_| true).await.0, Some(LIMITS.1));
    }
}
