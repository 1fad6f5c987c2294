//! Plots as SVG text, drawn by plotters without fonts or files.

use plotters::coord::Shift;
use plotters::prelude::*;

/// In pixels.
const WIDTH: u32 = 620;

/// In pixels; more bars make a plot higher.
const HEIGHT: u32 = 320;

/// Pixels of a bar with its name.
const BAR_HEIGHT: u32 = 18;

/// Blue, orange, green, red, violet, cyan, brown, grey.
const COLOURS: [RGBColor; 8] = [
    RGBColor(37, 99, 235),
    RGBColor(234, 88, 12),
    RGBColor(22, 163, 74),
    RGBColor(220, 38, 38),
    RGBColor(124, 58, 237),
    RGBColor(8, 145, 178),
    RGBColor(146, 64, 14),
    RGBColor(100, 116, 139),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A line, named in the legend. Its segments are not joined: between two runs nothing was measured.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) segments: Vec<Vec<(f64, f64)>>,
}

/// A bar with its value as text beside it.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) length: f64,
    /// The number of its colour.
    pub(crate) colour: usize,
    pub(crate) value: String,
}

/// What stands at an axis and its ticks.
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) label: fn(&f64) -> String,
}

/// Values as they are.
pub(crate) const fn plain(name: &'static str) -> Axis {
    Axis {
        name,
        label: number,
    }
}

/// Where milliseconds lie on an axis on which each further power of ten takes the same room.
pub(crate) fn decades(milliseconds: f64) -> f64 {
    milliseconds.max(1e-3).log10()
}

/// The axis of [`decades`].
pub(crate) const DECADES: Axis = Axis {
    name: "ms",
    label: |decades| {
        let milliseconds = 10f64.powf(*decades);
        let digits = (1.0 - decades.floor()).clamp(0.0, 3.0) as usize;
        format!("{milliseconds:.digits$}")
    },
};

/// A tick's value, without the noise of its last digits.
fn number(value: &f64) -> String {
    ((value * 1e6).round() / 1e6).to_string()
}

/// Where a quantile lies on an axis on which each further nine takes the same room.
pub(crate) fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

/// The axis of [`nines`].
pub(crate) const NINES: Axis = Axis {
    name: "percentile",
    label: |nines| {
        let percent = 100.0 * (1.0 - 10f64.powf(-nines));
        let digits = (nines.round() as usize).saturating_sub(2);
        format!("{percent:.digits$} %")
    },
};

/// Lines over an axis, from zero (or the lowest below it) up, with their legend below, where it hides
/// none of them. None if there is nothing to draw.
pub(crate) fn lines(title: &str, axis: &Axis, vertical: &Axis, lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| line.segments.iter().flatten());
    let left = points().map(|p| p.0).reduce(f64::min)?;
    let right = points().map(|p| p.0).reduce(f64::max)?;
    let top = points().map(|p| p.1).reduce(f64::max)?;
    let bottom = points().map(|p| p.1).fold(0.0, f64::min);
    let (left, right) = widen(left, right);
    let plot = svg(HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 17))
            .margin(12)
            .margin_right(32)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(left..right, bottom..ceiling(top))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(7)
            .y_labels(6)
            .x_desc(axis.name)
            .y_desc(vertical.name)
            .x_label_formatter(&axis.label)
            .y_label_formatter(&vertical.label)
            .draw()?;
        for (line, &colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            for segment in &line.segments {
                let points = segment.iter().copied();
                chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
                if segment.len() < 30 {
                    let dots = segment
                        .iter()
                        .map(|&at| Circle::new(at, 2, colour.filled()));
                    chart.draw_series(dots)?;
                }
            }
        }
        Ok(())
    })?;
    Some(plot + &legend(lines))
}

fn legend(lines: &[Line]) -> String {
    let entries = lines.iter().zip(COLOURS.iter().cycle());
    let entries = entries.map(|(line, colour)| {
        let RGBColor(red, green, blue) = colour;
        let name = escape(&line.name);
        format!("<span><i style=\"background:rgb({red},{green},{blue})\"></i>{name}</span>")
    });
    format!("<figcaption>{}</figcaption>", entries.collect::<String>())
}

/// Text inside HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Bars from top to bottom. None if there are none.
pub(crate) fn bars(title: &str, horizontal: &str, bars: &[Bar]) -> Option<String> {
    let longest = bars.iter().map(|bar| bar.length).reduce(f64::max)?;
    // A segmented axis of one segment has no length.
    let count = bars.len().max(2) as i32;
    let height = HEIGHT.max(BAR_HEIGHT * bars.len() as u32 + 90);
    svg(height, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 17))
            .margin(12)
            .margin_right(32)
            .x_label_area_size(38)
            .y_label_area_size(200)
            // Room on the right for the value.
            .build_cartesian_2d(0.0..ceiling(longest) * 1.2, (0..count - 1).into_segmented())?;
        let name = |value: &SegmentValue<i32>| match value {
            SegmentValue::CenterOf(number) => bars
                .get((count - 1 - number) as usize)
                .map_or_else(String::new, |bar| bar.name.clone()),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .disable_y_mesh()
            .x_labels(6)
            .y_labels(count as usize)
            .x_desc(horizontal)
            .x_label_formatter(&number)
            .y_label_formatter(&name)
            .draw()?;
        let place = |number: usize| count - 1 - number as i32;
        chart.draw_series(bars.iter().enumerate().map(|(number, bar)| {
            let mut bar = Rectangle::new(
                [
                    (0.0, SegmentValue::Exact(place(number))),
                    (bar.length, SegmentValue::Exact(place(number) + 1)),
                ],
                COLOURS[bar.colour % COLOURS.len()].filled(),
            );
            bar.set_margin(4, 4, 0, 0);
            bar
        }))?;
        chart.draw_series(bars.iter().enumerate().map(|(number, bar)| {
            let at = (bar.length, SegmentValue::CenterOf(place(number)));
            EmptyElement::at(at) + Text::new(bar.value.clone(), (6, -6), ("sans-serif", 12))
        }))?;
        Ok(())
    })
}

fn svg(height: u32, draw: impl FnOnce(&Area<'_>) -> DrawResult) -> Option<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).ok()?;
        draw(&area).ok()?;
        area.present().ok()?;
    }
    Some(text)
}

fn widen(left: f64, right: f64) -> (f64, f64) {
    if right > left {
        (left, right)
    } else {
        (left - 0.5, right + 0.5)
    }
}

/// A little above the highest value, and never nothing.
fn ceiling(top: f64) -> f64 {
    if top > 0.0 { top * 1.08 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_drawn_with_their_names() {
        let line = |name: &str| Line {
            name: name.to_owned(),
            segments: vec![vec![(0.0, 1.0), (1.0, 2.0)], vec![(2.0, 1.0), (3.0, 1.0)]],
        };
        let drawn = lines(
            "Title",
            &plain("s"),
            &plain("ms"),
            &[line("first"), line("second")],
        )
        .unwrap();
        assert!(drawn.starts_with("<svg"));
        let series = drawn.matches("stroke-width=\"2\"").count();
        assert_eq!(series, 4, "segments are not joined");
        assert!(drawn.contains("first") && drawn.contains("second") && drawn.contains("Title"));
    }

    #[test]
    fn one_point_and_no_points_are_not_a_fault() {
        let one = [Line {
            name: "one".to_owned(),
            segments: vec![vec![(3.0, 0.0)]],
        }];
        assert!(lines("t", &plain("x"), &plain("y"), &one).is_some());
        assert!(lines("t", &plain("x"), &plain("y"), &[]).is_none());
        assert!(bars("t", "x", &[]).is_none());
        // The background and the bar.
        let bar = Bar {
            name: "a".to_owned(),
            length: 2.0,
            colour: 0,
            value: "2".to_owned(),
        };
        let bar = bars("t", "x", &[bar]).unwrap();
        assert_eq!(bar.matches("<rect").count(), 2);
    }

    #[test]
    fn each_further_nine_takes_the_same_room() {
        assert!((nines(0.99) - 2.0).abs() < 1e-9);
        assert_eq!((NINES.label)(&1.0), "90 %");
        assert_eq!((NINES.label)(&3.0), "99.9 %");
    }

    #[test]
    fn each_further_power_of_ten_takes_the_same_room() {
        assert!((decades(100.0) - 2.0).abs() < 1e-9);
        assert_eq!((DECADES.label)(&2.0), "100");
        assert_eq!((DECADES.label)(&-1.0), "0.10");
    }
}
