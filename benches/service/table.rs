//! Figures of several turns and their ratios.

/// One side's figures, turn by turn.
#[derive(Default)]
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

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    };
    let edge = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
    (median, edge(sorted.first()), edge(sorted.last()))
}

/// The heading of a row.
pub(crate) fn heading(name: &str, about: &str) {
    println!("\n{name}: {about}");
}

/// A side's median with its extremes.
pub(crate) fn side(side: &Side, unit: &str) {
    let (median, least, most) = spread(&side.values);
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
    let (median, least, most) = spread(&ratios);
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
