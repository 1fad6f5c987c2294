//! The common JPEG files, decoded here: sequential Huffman coding in one scan, grey or three
//! components with at most twice the luma samples in each direction.
//!
//! The pixels are libjpeg-turbo's to the last bit, so OpenCV's. Whatever is rare, damaged or in
//! doubt is not taken, and the backend judges it: nothing is decided here but "these are the
//! pixels".
//!
//! A row of MCUs at a time goes through entropy decoding and the inverse DCT into sample planes of
//! that height, and from there to RGB. Where chroma is upsampled vertically each row of output
//! needs the samples above and below, so the last row of one step is emitted with the next.

mod bit_reader;
mod block;
mod colour;
mod huffman;
mod idct;
mod mcu;
mod scan_layout;
#[cfg(test)]
mod tests;
mod upsample;

use super::Size;
use super::header::{Colours, Header};
use bit_reader::{Bits, Window};
use huffman::Table;
use mcu::{McuRow, Sampling};
use scan_layout::Plan;

/// Bytes of samples that are kept between images.
const KEPT_BYTES: usize = 1 << 20;

/// Tables and buffers, kept from image to image.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    window: Box<Window>,
    dc: [Box<Table>; 4],
    ac: [Box<Table>; 4],
    coefficients: Box<mcu::Coefficients>,
    planes: [Plane; 3],
    upsampled: upsample::Rows,
}

/// The samples of one component in one row of MCUs, under the last row of samples of the one
/// before.
#[derive(Debug, Default)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

impl Plane {
    /// Makes room for `rows` rows and the one before. Nothing is cleared: all is written before
    /// it is read.
    fn shape(&mut self, stride: usize, rows: usize) {
        self.stride = stride;
        self.samples.resize(stride * (rows + 1), 0);
    }

    /// Row `y`, of which -1 is the last row of the MCUs above.
    fn row(&self, y: isize) -> &[u8] {
        let start = y.wrapping_add(1).unsigned_abs() * self.stride;
        self.samples
            .get(start..)
            .map_or(&[], |rest| rest.get(..self.stride).unwrap_or_default())
    }

    /// Keeps the last row for the next MCUs.
    fn carry(&mut self) {
        let last = self.samples.len().saturating_sub(self.stride);
        self.samples.copy_within(last.., 0);
    }
}

impl Baseline {
    /// Decodes to RGB if the file is one of the common ones and beyond doubt. If it is not, `rgb`
    /// is left with anything in it, and so are the rows that are not `wanted`.
    pub(super) fn decode(
        &mut self,
        image: &[u8],
        size: Size,
        header: &Header<'_>,
        wanted: &[bool],
        rgb: &mut [u8],
    ) -> Option<()> {
        let decoded = Plan::read(header).and_then(|plan| {
            let scan = image.get(header.scans.first()?.clone())?;
            self.pixels(scan, size, header.colours, &plan, wanted, rgb)
        });
        for plane in &mut self.planes {
            if plane.samples.capacity() > KEPT_BYTES {
                *plane = Plane::default();
                self.upsampled = upsample::Rows::default();
            }
        }
        decoded
    }

    fn pixels(
        &mut self,
        scan: &[u8],
        size: Size,
        colours: Colours,
        plan: &Plan<'_>,
        wanted: &[bool],
        rgb: &mut [u8],
    ) -> Option<()> {
        for component in &plan.components {
            let (dc, ac) = (component.dc, component.ac);
            self.dc.get_mut(dc)?.define(plan.dc.get(dc)?.as_ref()?)?;
            self.ac.get_mut(ac)?.define(plan.ac.get(ac)?.as_ref()?)?;
        }
        let (h, v) = (plan.h, plan.v);
        let across = size.width.div_ceil(8 * h);
        let down = size.height.div_ceil(8 * v);
        for (plane, component) in self.planes.iter_mut().zip(&plan.components) {
            plane.shape(
                across.next_multiple_of(mcu::MCUS) * 8 * component.h,
                8 * component.v,
            );
        }
        let sampling = Sampling {
            colours,
            h,
            v,
            width: size.width,
        };
        let chroma_rows = size.height.div_ceil(v) as isize;
        let mut row = McuRow {
            bits: Bits::new(scan, &mut self.window),
            components: &plan.components,
            dc: &self.dc,
            ac: &self.ac,
            predictions: [0; 3],
            restart: plan.restart,
            until_restart: plan.restart,
            next_restart: 0xD0,
        };
        let mut lines = rgb.chunks_exact_mut(size.width * 3).zip(wanted);
        for y in 0..down {
            let needed = mcu::needed(&plan.components, v, y, wanted);
            let (coefficients, planes) = (&mut self.coefficients, &mut self.planes);
            mcu::decode(&mut row, across, needed, coefficients, planes)?;
            let (first, last) = (y == 0, y + 1 == down);
            let height = 8 * v as isize;
            // With vertical upsampling one row late, since the samples below come later.
            let late = isize::from(v > 1);
            let from = if first { 0 } else { -late };
            let to = if last { height } else { height - late };
            let above = if first { 0 } else { -1 };
            let below = if last {
                chroma_rows - 8 * y as isize - 1
            } else {
                8
            };
            for (y, (line, wanted)) in (from..to).zip(&mut lines) {
                if !wanted {
                    continue;
                }
                let (near, far) = if v == 1 {
                    (y, y)
                } else {
                    let near = y >> 1;
                    let far = if y & 1 == 0 { near - 1 } else { near + 1 };
                    (near, far.clamp(above, below))
                };
                let [luma, cb, cr] = &self.planes;
                let chroma = [cb, cr].map(|plane| [plane.row(near), plane.row(far)]);
                mcu::emit(
                    &sampling,
                    luma.row(y),
                    chroma,
                    y & 1 != 0,
                    &mut self.upsampled,
                    line,
                );
            }
            if v > 1 {
                self.planes.iter_mut().for_each(Plane::carry);
            }
        }
        row.bits.finish()
    }
}
