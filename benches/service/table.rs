//! Figures of several turns and their ratios.

use kserve_transformer::loadtest::median;

/// One side's figures, turn by turn.
pub(crate) struct Side {
    name: String,
    values: Vec<f64>,
}

impl Side {
    /// Without figures yet.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            values: Vec::new(),
        }
    }

    /// Adds a turn's figure.
    pub(crate) fn add(&mut self, value: f64) {
        self.values.push(value);
    }
}

/// The median of values, with the smallest and the largest.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let edge = |of: fn(f64, f64) -> f64| values.iter().copied().reduce(of).unwrap_or(f64::NAN);
        Self {
            median: median(values.to_vec()).unwrap_or(f64::NAN),
            least: edge(f64::min),
            most: edge(f64::max),
        }
    }
}

/// The heading of a row.
pub(crate) fn heading(name: &str, about: &str) {
    println!("\n{name}: {about}");
}

/// A side's median with its extremes.
pub(crate) fn side(side: &Side, unit: &str) {
    let Spread {
        median,
        least,
        most,
    } = Spread::of(&side.values);
    println!(
        "    {:<44} {median:>9.1} {unit:<7} ({least:.1} … {most:.1})",
        side.name
    );
}

/// `above` / `below`, turn by turn, beside what is wanted.
pub(crate) fn ratio(above: &Side, below: &Side, goal: &str) {
    let ratios: Vec<_> = above
        .values
        .iter()
        .zip(&below.values)
        .map(|(above, below)| above / below)
        .collect();
    let Spread {
        median,
        least,
        most,
    } = Spread::of(&ratios);
    let name = format!("{} / {}", above.name, below.name);
    println!(
        "    {name:<44} {median:>9.2} {:<7} ({least:.2} … {most:.2})  goal {goal}",
        ""
    );
}

/// A figure by itself.
pub(crate) fn figure(name: &str, value: f64, unit: &str, goal: &str) {
    println!("    {name:<44} {value:>9.1} {unit:<7} goal {goal}");
}
