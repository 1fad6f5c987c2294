//! Rectangles, dots and numbers on an image, and the image as PNG. Knows nothing of faces.

use crate::pixel::ImageBuf;

/// A colour in RGB.
pub(super) type Colour = [u8; 3];

/// Pixels that can be drawn on.
#[derive(Clone)]
pub(super) struct Canvas {
    /// Rows without gaps.
    rgb: Vec<u8>,
    size: [u32; 2],
}

/// The width and height of a character in cells of the font, without the gap behind it.
const GLYPH: [u32; 2] = [5, 7];

impl Canvas {
    /// A copy of an image's pixels.
    pub(super) fn of(image: &ImageBuf) -> Self {
        let view = image.image();
        let rows = (0..image.height()).map(|y| view.row(y));
        Self {
            rgb: rows.flatten().copied().collect(),
            size: [image.width() as u32, image.height() as u32],
        }
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> [u32; 2] {
        self.size
    }

    /// The same, with sides of at most `longest` pixels: of several pixels one is taken, which is enough
    /// to look at.
    pub(super) fn within(&self, longest: u32) -> Self {
        let longer = u64::from(self.size[0].max(self.size[1]));
        if longer <= u64::from(longest) {
            return self.clone();
        }
        let longest = u64::from(longest);
        let size = self
            .size
            .map(|side| (u64::from(side) * longest / longer).max(1) as u32);
        let mut rgb = Vec::with_capacity(size[0] as usize * size[1] as usize * 3);
        let source = |at: u32| (u64::from(at) * longer / longest) as u32;
        for y in 0..size[1] {
            for x in 0..size[0] {
                rgb.extend_from_slice(self.pixel(source(x), source(y)).unwrap_or(&[0; 3]));
            }
        }
        Self { rgb, size }
    }

    fn offset(&self, x: u32, y: u32) -> Option<usize> {
        let inside = x < self.size[0] && y < self.size[1];
        inside.then(|| (y as usize * self.size[0] as usize + x as usize) * 3)
    }

    fn pixel(&self, x: u32, y: u32) -> Option<&[u8]> {
        let offset = self.offset(x, y)?;
        self.rgb.get(offset..offset + 3)
    }

    /// Pixels that are not on the image are left out.
    fn set(&mut self, x: i64, y: i64, colour: Colour) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if let Some(offset) = self.offset(x, y)
            && let Some(pixel) = self.rgb.get_mut(offset..offset + 3)
        {
            pixel.copy_from_slice(&colour);
        }
    }

    fn fill(&mut self, [left, top]: [i64; 2], [width, height]: [i64; 2], colour: Colour) {
        for y in top..top + height {
            for x in left..left + width {
                self.set(x, y, colour);
            }
        }
    }

    /// The edge of a rectangle (left, top, width, height), `thick` pixels inwards.
    pub(super) fn rectangle(&mut self, rect: [f32; 4], thick: i64, colour: Colour) {
        let [left, top, width, height] = rect;
        let (x, y) = (left.round() as i64, top.round() as i64);
        let right = (left + width).round() as i64;
        let bottom = (top + height).round() as i64;
        let (wide, high) = ((right - x).max(1), (bottom - y).max(1));
        let (thick_x, thick_y) = (thick.min(wide), thick.min(high));
        self.fill([x, y], [wide, thick_y], colour);
        self.fill([x, bottom.max(y + 1) - thick_y], [wide, thick_y], colour);
        self.fill([x, y], [thick_x, high], colour);
        self.fill([right.max(x + 1) - thick_x, y], [thick_x, high], colour);
    }

    /// A square dot around a place.
    pub(super) fn dot(&mut self, [x, y]: [f32; 2], thick: i64, colour: Colour) {
        let corner = [x, y].map(|at| at.round() as i64 - thick);
        self.fill(corner, [2 * thick + 1; 2], colour);
    }

    /// Digits and points in cells of `cell` pixels, on a ground of their own; other characters are
    /// gaps. The corner moves so that all of it is on the image, where there is room.
    pub(super) fn number(&mut self, corner: [i64; 2], cell: i64, text: &str, colours: [Colour; 2]) {
        let advance = i64::from(GLYPH[0] + 1) * cell;
        let size = [
            text.chars().count() as i64 * advance + cell,
            i64::from(GLYPH[1] + 2) * cell,
        ];
        let mut at = [0; 2];
        for axis in 0..2 {
            let last = i64::from(self.size[axis]) - size[axis];
            at[axis] = corner[axis].min(last).max(0);
        }
        let [colour, ground] = colours;
        self.fill(at, size, ground);
        for (index, character) in text.chars().enumerate() {
            let left = at[0] + cell + index as i64 * advance;
            for (y, row) in glyph(character).into_iter().enumerate() {
                for x in 0..GLYPH[0] {
                    if row >> (GLYPH[0] - 1 - x) & 1 == 1 {
                        let place = [left + i64::from(x) * cell, at[1] + (y as i64 + 1) * cell];
                        self.fill(place, [cell; 2], colour);
                    }
                }
            }
        }
    }

    /// The height of [`Self::number`].
    pub(super) fn number_height(cell: i64) -> i64 {
        i64::from(GLYPH[1] + 2) * cell
    }

    /// The image as PNG.
    pub(super) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.size[0], self.size[1]);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// A character's rows from above, a bit for each cell.
fn glyph(character: char) -> [u8; 7] {
    match character {
        '0' => [
            0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110,
        ],
        '1' => [
            0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110,
        ],
        '2' => [
            0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111,
        ],
        '3' => [
            0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110,
        ],
        '4' => [
            0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010,
        ],
        '5' => [
            0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110,
        ],
        '6' => [
            0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110,
        ],
        '7' => [
            0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000,
        ],
        '8' => [
            0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110,
        ],
        '9' => [
            0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100,
        ],
        '.' => [0, 0, 0, 0, 0, 0b01100, 0b01100],
        '-' => [0, 0, 0, 0b11111, 0, 0, 0],
        _ => [0; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INK: Colour = [255, 0, 0];
    const GROUND: Colour = [0, 0, 255];

    fn black(width: usize, height: usize) -> Canvas {
        Canvas::of(&ImageBuf::new(vec![0; width * height * 3], width, height).unwrap())
    }

    fn at(canvas: &Canvas, x: u32, y: u32) -> Colour {
        canvas.pixel(x, y).unwrap().try_into().unwrap()
    }

    #[test]
    fn a_rectangle_is_its_edge_and_nothing_else() {
        let mut canvas = black(40, 30);
        canvas.rectangle([10.4, 5.6, 20.0, 10.0], 2, INK);
        for (x, y) in [(10, 6), (29, 6), (10, 15), (29, 15), (11, 7), (20, 14)] {
            assert_eq!(at(&canvas, x, y), INK, "{x},{y}");
        }
        for (x, y) in [(9, 6), (30, 6), (10, 5), (10, 16), (12, 8), (20, 10)] {
            assert_eq!(at(&canvas, x, y), [0; 3], "{x},{y}");
        }
    }

    #[test]
    fn what_is_not_on_the_image_is_left_out() {
        let mut canvas = black(8, 8);
        canvas.rectangle([-3.0, -3.0, 20.0, 20.0], 1, INK);
        canvas.dot([-9.0, 100.0], 2, INK);
        assert!(canvas.rgb.iter().all(|&value| value == 0));
        canvas.dot([0.0, 7.0], 1, INK);
        assert_eq!((at(&canvas, 0, 7), at(&canvas, 2, 7)), (INK, [0; 3]));
    }

    #[test]
    fn a_number_is_drawn_whole_and_digits_differ() {
        let mut canvas = black(60, 20);
        canvas.number([50, -5], 1, "0.98", [INK, GROUND]);
        let all = (0..20).flat_map(|y| (0..60).map(move |x| (x, y)));
        let drawn = all.filter(|&(x, y)| at(&canvas, x, y) != [0; 3]);
        let places: Vec<_> = drawn.collect();
        assert_eq!(places.len(), (4 * 6 + 1) * 9);
        assert_eq!((places[0], places.last()), ((35, 0), Some(&(59, 8))));
        let digits: std::collections::BTreeSet<_> = ('0'..='9').map(glyph).collect();
        assert_eq!(digits.len(), 10);
    }

    #[test]
    fn the_png_has_the_pixels_and_a_smaller_copy_the_shape() {
        let mut canvas = black(40, 20);
        canvas.rectangle([0.0, 0.0, 40.0, 20.0], 1, INK);
        let png = canvas.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, canvas.rgb);
        assert_eq!(canvas.within(10).size(), [10, 5]);
        assert_eq!(canvas.within(100).size(), [40, 20]);
    }
}
