//! CenterFace's outputs to faces: which size a photo is given to it, what its four maps say, and the
//! square that is cut out around a face. Arithmetic only.

use crate::error::{Error, Kind};
use crate::pixel::Rect;

/// Both sides of the detector's input are multiples of this.
const INPUT_STEP: usize = 32;

/// Pixels of the input per cell of the maps, in both axes.
const STRIDE: usize = 4;

/// Of two boxes that overlap so much, by intersection over union, the less certain one is dropped.
const MAX_OVERLAP: f32 = 0.3;

/// Faces of one photo, the most certain ones: as many as a request may have images, so that a photo
/// costs the quality model no more than the largest request of single faces.
pub const MAX_FACES: usize = 256;

/// Cells that are looked at, the most certain ones. A face answers in a few neighbouring cells; of an
/// output that says "face" everywhere the rest would only cost time.
const MAX_CELLS: usize = 8 * MAX_FACES;

/// A face in a photo. Places and sizes are in the photo's pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left, top, width and height; inside the photo and not empty.
    pub rect: [f32; 4],
    /// Left eye, right eye, nose, left and right corner of the mouth, as seen in the photo: x and y.
    /// They may be outside of a face that the photo cuts.
    pub landmarks: [[f32; 2]; 5],
    /// How certain the detector is, 0–1.
    pub confidence: f32,
}

/// Width and height of the detector's input for a photo of width and height `photo`: the longer side
/// at most `detect_side`, both rounded up to what the detector takes.
pub fn input_size(photo: [usize; 2], detect_side: usize) -> [usize; 2] {
    let longer = photo[0].max(photo[1]).max(1);
    let to = longer.min(detect_side.max(1));
    photo.map(|side| (side.max(1) * to).div_ceil(longer * INPUT_STEP) * INPUT_STEP)
}

/// The detector's output for one photo: maps of width × height cells, row by row.
#[derive(Clone, Copy)]
pub struct Maps<'a> {
    columns: usize,
    heat: &'a [f32],
    scale: &'a [f32],
    offset: &'a [f32],
    landmarks: &'a [f32],
}

impl<'a> Maps<'a> {
    /// For an input of width and height `input`: heat `[1,h,w]`, scale and offset `[2,h,w]` (vertical
    /// first), landmarks `[10,h,w]`; w and h are a quarter of the input's.
    ///
    /// # Errors
    ///
    /// When a map has another number of values.
    pub fn new(input: [usize; 2], maps: [&'a [f32]; 4]) -> Result<Self, Error> {
        let [columns, rows] = input.map(|side| side / STRIDE);
        for (map, (name, depth)) in
            maps.iter()
                .zip([("heat", 1), ("scale", 2), ("offset", 2), ("landmarks", 10)])
        {
            let (found, expected) = (map.len(), depth * columns * rows);
            if found != expected {
                return Err(invalid(format!(
                    "{found} values of {name}; expected {expected}"
                )));
            }
        }
        let [heat, scale, offset, landmarks] = maps;
        Ok(Self {
            columns,
            heat,
            scale,
            offset,
            landmarks,
        })
    }

    /// The faces that the detector is more certain of than `threshold`, the most certain first, in
    /// the pixels of a photo of width and height `photo`; at most [`MAX_FACES`].
    ///
    /// # Errors
    ///
    /// When a value that is looked at is not a number.
    pub fn faces(&self, threshold: f32, photo: [usize; 2]) -> Result<Vec<Detection>, Error> {
        let mut faces: Vec<Detection> = Vec::new();
        for cell in self.hot_cells(threshold)? {
            let Some(face) = self.face(cell, photo)? else {
                continue;
            };
            if faces
                .iter()
                .all(|kept| overlap(&kept.rect, &face.rect) < MAX_OVERLAP)
            {
                faces.push(face);
                if faces.len() == MAX_FACES {
                    break;
                }
            }
        }
        Ok(faces)
    }

    /// The cells hotter than `threshold`, the hottest first, at most [`MAX_CELLS`].
    fn hot_cells(&self, threshold: f32) -> Result<Vec<usize>, Error> {
        // A comparison would take NaN for "no face".
        if self.heat.iter().any(|heat| heat.is_nan()) {
            return Err(invalid("heat that is not a number".to_owned()));
        }
        let mut cells: Vec<usize> = (0..self.heat.len())
            .filter(|&cell| self.heat[cell] > threshold)
            .collect();
        let by_heat = |a: &usize, b: &usize| {
            let (a_heat, b_heat) = (self.heat[*a], self.heat[*b]);
            b_heat.total_cmp(&a_heat).then(a.cmp(b))
        };
        if cells.len() > MAX_CELLS {
            cells.select_nth_unstable_by(MAX_CELLS, by_heat);
            cells.truncate(MAX_CELLS);
        }
        cells.sort_unstable_by(by_heat);
        Ok(cells)
    }

    /// What a cell says, scaled to the photo; `None` if nothing of its box is inside.
    fn face(&self, cell: usize, photo: [usize; 2]) -> Result<Option<Detection>, Error> {
        let cells = self.heat.len();
        let stride = STRIDE as f32;
        let place = [cell % self.columns, cell / self.columns];
        let input = [self.columns, cells / self.columns].map(|side| side * STRIDE);
        // The maps have the vertical value first.
        let vertical_first = |map: &[f32], axis: usize| map[(1 - axis) * cells + cell];
        let side = [0, 1].map(|axis| vertical_first(self.scale, axis).exp() * stride);
        let start = [0, 1].map(|axis| {
            let centre = place[axis] as f32 + vertical_first(self.offset, axis) + 0.5;
            centre * stride - side[axis] / 2.0
        });
        let to_photo = [0, 1].map(|axis| photo[axis] as f32 / input[axis] as f32);
        // In units of the box, from its corner before it is clamped.
        let landmarks: [[f32; 2]; 5] = std::array::from_fn(|point| {
            [0, 1].map(|axis| {
                let along = vertical_first(&self.landmarks[point * 2 * cells..], axis);
                (start[axis] + along * side[axis]) * to_photo[axis]
            })
        });
        let numbers = side.iter().chain(&start).chain(landmarks.as_flattened());
        if numbers.copied().any(|number| !number.is_finite()) {
            return Err(invalid(
                "a box or landmarks that are not numbers".to_owned(),
            ));
        }
        let clamped = [0, 1].map(|axis| {
            let within = |at: f32| (at * to_photo[axis]).clamp(0.0, photo[axis] as f32);
            [within(start[axis]), within(start[axis] + side[axis])]
        });
        let [[left, right], [top, bottom]] = clamped;
        let is_empty = left >= right || top >= bottom;
        Ok((!is_empty).then_some(Detection {
            rect: [left, top, right - left, bottom - top],
            landmarks,
            confidence: self.heat[cell],
        }))
    }
}

/// Sizes only: where a face is, is personal.
impl std::fmt::Debug for Maps<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.heat.len() / self.columns.max(1);
        write!(f, "Maps({}x{rows})", self.columns)
    }
}

impl Detection {
    /// The square to cut out of a photo of width and height `photo`: around the middle of the box, its
    /// side `margin` × the box's longer one, as much of it as is inside; at least a pixel.
    pub fn square(&self, margin: f32, photo: [usize; 2]) -> Rect {
        let [left, top, width, height] = self.rect;
        let half = width.max(height) * margin / 2.0;
        let [[x, right], [y, bottom]] =
            [(left, width, photo[0]), (top, height, photo[1])].map(|(start, side, limit)| {
                let middle = start + side / 2.0;
                let from = ((middle - half).round() as usize).min(limit.saturating_sub(1));
                let to = ((middle + half).round() as usize).min(limit);
                [from, to.max(from + 1)]
            });
        Rect {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    }
}

/// Intersection over union of two boxes that are not empty.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let shared = [0, 1].map(|axis| {
        let end = (a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]);
        (end - a[axis].max(b[axis])).max(0.0)
    });
    let shared = shared[0] * shared[1];
    shared / (a[2] * a[3] + b[2] * b[3] - shared)
}

fn invalid(what: String) -> Error {
    Error::new(
        Kind::BadGateway,
        format!("the face detector returned {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: [usize; 2] = [64, 32];
    const COLUMNS: usize = 16;
    const CELLS: usize = 16 * 8;

    /// An output in which single cells say what they are told.
    struct Output([Vec<f32>; 4]);

    impl Output {
        fn new() -> Self {
            Self([1, 2, 2, 10].map(|depth| vec![0.0; depth * CELLS]))
        }

        /// A face at column and row `at` of this width and height in pixels of the input.
        fn with(mut self, at: [usize; 2], heat: f32, [width, height]: [f32; 2]) -> Self {
            let cell = at[1] * COLUMNS + at[0];
            self.0[0][cell] = heat;
            self.0[1][cell] = (height / 4.0).ln();
            self.0[1][CELLS + cell] = (width / 4.0).ln();
            // The landmarks on the diagonal of the box, the vertical values a little lower.
            for point in 0..5 {
                self.0[3][point * 2 * CELLS + cell] = point as f32 / 4.0 + 0.1;
                self.0[3][(point * 2 + 1) * CELLS + cell] = point as f32 / 4.0;
            }
            self
        }

        fn faces(&self, photo: [usize; 2]) -> Result<Vec<Detection>, Error> {
            let maps = self.0.each_ref().map(Vec::as_slice);
            Maps::new(INPUT, maps)?.faces(0.5, photo)
        }
    }

    fn near(found: &[f32], expected: &[f32]) -> bool {
        found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-3)
    }

    #[test]
    fn cells_become_boxes() {
        let one = |at, size| Output::new().with(at, 0.9, size);
        let cases: [(&str, Output, &[[f32; 4]]); 11] = [
            ("nothing", Output::new(), &[]),
            (
                "a face in the middle",
                one([7, 3], [8.0, 12.0]),
                &[[26.0, 8.0, 8.0, 12.0]],
            ),
            (
                "at the threshold",
                Output::new().with([7, 3], 0.5, [8.0; 2]),
                &[],
            ),
            (
                "cut on the left and above",
                one([0, 0], [8.0, 12.0]),
                &[[0.0, 0.0, 6.0, 8.0]],
            ),
            (
                "cut on the right and below",
                one([15, 7], [8.0, 12.0]),
                &[[58.0, 24.0, 6.0, 8.0]],
            ),
            (
                "larger than the photo",
                one([3, 3], [900.0, 900.0]),
                &[[0.0, 0.0, 64.0, 32.0]],
            ),
            ("without a size", one([3, 3], [0.0, 9.0]), &[]),
            (
                "two neighbouring cells of one face",
                one([7, 3], [16.0, 16.0]).with([8, 3], 0.8, [16.0, 16.0]),
                &[[22.0, 6.0, 16.0, 16.0]],
            ),
            (
                "the more certain one wins wherever it stands",
                one([8, 3], [16.0, 16.0]).with([7, 3], 0.8, [16.0, 16.0]),
                &[[26.0, 6.0, 16.0, 16.0]],
            ),
            (
                "two faces that overlap a little",
                one([4, 3], [16.0, 16.0]).with([7, 3], 0.8, [16.0, 16.0]),
                &[[10.0, 6.0, 16.0, 16.0], [22.0, 6.0, 16.0, 16.0]],
            ),
            (
                "the most certain first",
                one([12, 3], [8.0, 8.0]).with([2, 3], 0.95, [8.0, 8.0]),
                &[[6.0, 10.0, 8.0, 8.0], [46.0, 10.0, 8.0, 8.0]],
            ),
        ];
        for (what, output, expected) in cases {
            let faces = output.faces(INPUT).unwrap();
            assert_eq!(faces.len(), expected.len(), "{what}");
            for (face, expected) in faces.iter().zip(expected) {
                assert!(near(&face.rect, expected), "{what}: {face:?}");
            }
        }
    }

    #[test]
    fn places_are_scaled_to_the_photo() {
        let mut output = Output::new().with([7, 3], 0.75, [8.0, 16.0]);
        let cell = 3 * COLUMNS + 7;
        // Vertical first: a quarter of a cell down, half a cell to the right.
        (output.0[2][cell], output.0[2][CELLS + cell]) = (0.25, 0.5);
        let [face] = output.faces([640, 160]).unwrap()[..] else {
            panic!("one face");
        };
        assert!(near(&face.rect, &[280.0, 35.0, 80.0, 80.0]), "{face:?}");
        assert!(near(&face.landmarks[0], &[280.0, 43.0]), "{face:?}");
        assert!(near(&face.landmarks[4], &[360.0, 123.0]), "{face:?}");
        assert_eq!(face.confidence, 0.75);
    }

    #[test]
    fn a_box_outside_of_the_photo_is_none() {
        let mut output = Output::new().with([0, 3], 0.9, [8.0, 8.0]);
        output.0[2][CELLS + 3 * COLUMNS] = -20.0;
        assert!(output.faces(INPUT).unwrap().is_empty());
    }

    #[test]
    fn landmarks_of_a_face_that_is_cut_stay_where_they_are() {
        let faces = Output::new().with([0, 3], 0.9, [16.0, 16.0]).faces(INPUT);
        assert!(near(&faces.unwrap()[0].landmarks[0], &[-6.0, 7.6]));
    }

    #[test]
    fn what_is_not_a_number_is_an_error() {
        let cell = 3 * COLUMNS + 7;
        for (map, at, value) in [
            // Anywhere in the heat; elsewhere where a face is.
            (0, 0, f32::NAN),
            (0, cell, f32::NAN),
            (1, cell, f32::NAN),
            (1, cell, 1000.0),
            (1, CELLS + cell, f32::INFINITY),
            (2, CELLS + cell, f32::NAN),
            (2, cell, f32::NEG_INFINITY),
            (3, 9 * CELLS + cell, f32::NAN),
        ] {
            let mut output = Output::new().with([7, 3], 0.9, [8.0; 2]);
            output.0[map][at] = value;
            let error = output.faces(INPUT).unwrap_err();
            assert_eq!(error.kind, Kind::BadGateway, "{map} {at}");
            assert!(error.to_string().contains("number"), "{error}");
        }
        let mut elsewhere = Output::new().with([7, 3], 0.9, [8.0; 2]);
        elsewhere.0[1][0] = f32::NAN;
        assert_eq!(elsewhere.faces(INPUT).unwrap().len(), 1);
    }

    #[test]
    fn maps_of_another_size_are_an_error() {
        let [heat, scale, offset, landmarks] = Output::new().0;
        let maps = [&heat, &scale, &offset[1..], &landmarks[..]];
        let error = Maps::new(INPUT, maps).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("255 values of offset; expected 256"),
            "{error}"
        );
    }

    #[test]
    fn faces_everywhere_are_bounded_and_the_most_certain_are_kept() {
        let input = [640, 640];
        let cells = 160 * 160;
        let heat: Vec<f32> = (0..cells).map(|cell| 0.6 + cell as f32 * 1e-5).collect();
        // Boxes of a pixel, none of which touches another.
        let scale = vec![0.25_f32.ln(); 2 * cells];
        let (offset, landmarks) = (vec![0.0; 2 * cells], vec![0.0; 10 * cells]);
        let maps = Maps::new(input, [&heat, &scale, &offset, &landmarks]).unwrap();
        let faces = maps.faces(0.5, input).unwrap();
        assert_eq!(faces.len(), MAX_FACES);
        assert_eq!(faces[0].confidence, heat[cells - 1]);
        assert_eq!(faces[255].confidence, heat[cells - 256]);
        assert_eq!(maps.hot_cells(0.5).unwrap().len(), MAX_CELLS);
        // All on one place.
        let scale = vec![(640.0_f32).ln(); 2 * cells];
        let maps = Maps::new(input, [&heat, &scale, &offset, &landmarks]).unwrap();
        assert_eq!(maps.faces(0.5, input).unwrap().len(), 1);
    }

    #[test]
    fn the_input_is_bounded_and_whole_steps() {
        for (photo, side, expected) in [
            ([512, 512], 640, [512, 512]),
            ([640, 640], 640, [640, 640]),
            ([1920, 1080], 640, [640, 384]),
            ([1080, 1920], 320, [192, 320]),
            ([4000, 1], 640, [640, 32]),
            ([1, 1], 640, [32, 32]),
            ([33, 100], 640, [64, 128]),
            ([1000, 1000], 100, [128, 128]),
        ] {
            assert_eq!(input_size(photo, side), expected, "{photo:?} {side}");
        }
    }

    #[test]
    fn squares_stay_inside_the_photo() {
        for (rect, margin, expected) in [
            ([40.0, 40.0, 20.0, 10.0], 1.0, [40, 35, 20, 20]),
            ([40.0, 40.0, 20.0, 10.0], 1.5, [35, 30, 30, 30]),
            ([0.0, 0.0, 20.0, 40.0], 1.0, [0, 0, 30, 40]),
            ([90.0, 50.0, 10.0, 10.0], 3.0, [80, 40, 20, 30]),
            ([10.0, 10.0, 0.1, 0.1], 1.0, [10, 10, 1, 1]),
            ([99.9, 69.9, 0.1, 0.1], 1.0, [99, 69, 1, 1]),
            ([0.0, 0.0, 100.0, 70.0], 9.0, [0, 0, 100, 70]),
        ] {
            let face = Detection {
                rect,
                landmarks: [[0.0; 2]; 5],
                confidence: 1.0,
            };
            let Rect {
                x,
                y,
                width,
                height,
            } = face.square(margin, [100, 70]);
            assert_eq!([x, y, width, height], expected, "{rect:?} {margin}");
        }
    }
}
