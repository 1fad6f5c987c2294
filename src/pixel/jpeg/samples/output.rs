//! Rows of samples to rows of pixels.

use std::{array, iter};

use multiversion::multiversion;

use super::colour;
use super::idct::QuantTable;
use super::planes::Plane;
use super::upsample::{self, Rows};
use crate::pixel::jpeg::entropy::lanes::{Batch, Lanes};
use crate::pixel::jpeg::fault::Fault;
use crate::pixel::jpeg::frame::{BlockGroup, Component, Frame, LANES, MAX_COMPONENTS, Upsampling};
use crate::pixel::jpeg::header::Colours;

/// Pixels in a vector, or in several.
const VECTOR: usize = 64;

/// A quantisation table for each component, as it stood at the component's first scan.
pub(in crate::pixel::jpeg) type QuantTables = [Option<Box<QuantTable>>; MAX_COMPONENTS];

/// Samples on their way to pixels.
#[derive(Debug, Default)]
pub(in crate::pixel::jpeg) struct Output {
    planes: [Plane; MAX_COMPONENTS],
    rows: Rows,
}

impl Output {
    /// Makes room for a row of MCUs.
    pub(in crate::pixel::jpeg) fn shape(&mut self, frame: &Frame) {
        let planes = self.planes.iter_mut().take(frame.components.len());
        for (index, plane) in planes.enumerate() {
            plane.shape(frame, index);
        }
    }

    /// Gives back what a large image took.
    pub(in crate::pixel::jpeg) fn shrink(&mut self) {
        self.planes.iter_mut().for_each(Plane::shrink);
        self.rows.shrink();
    }

    #[cfg(test)]
    pub(in crate::pixel::jpeg) fn kept_bytes(&self) -> usize {
        self.planes.iter().map(Plane::kept_bytes).sum()
    }

    /// Makes samples of a batch of MCUs. Those of groups that are not `needed` are left as they were.
    pub(in crate::pixel::jpeg) fn write_mcus(
        &mut self,
        frame: &Frame,
        lanes: &Lanes,
        batch: &Batch,
        needed: &[bool],
        groups: &[BlockGroup],
        quants: &QuantTables,
    ) -> Result<(), Fault> {
        let mut rest = groups.iter().zip(needed);
        let components = frame.components.iter().zip(&mut self.planes).zip(quants);
        for (index, ((component, plane), quant)) in components.enumerate() {
            let Some(quant) = quant else { continue };
            for row in 0..component.v_samp {
                let groups = rest.by_ref().take(component.h_samp);
                let blocks = lanes
                    .groups(index, batch)
                    .map(Some)
                    .chain(iter::repeat(None));
                for ((coefficients, needed), blocks) in groups.zip(blocks) {
                    if let Some(blocks) = blocks.filter(|_| *needed) {
                        plane.write(row, blocks, coefficients, quant)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes samples of row `row` of blocks of a component in these MCUs.
    pub(in crate::pixel::jpeg) fn write_row(
        &mut self,
        component: usize,
        row: usize,
        groups: &[BlockGroup],
        quants: &QuantTables,
    ) -> Result<(), Fault> {
        if let Some(quant) = &quants[component] {
            for (number, group) in groups.iter().enumerate() {
                let blocks: [u16; LANES] = array::from_fn(|lane| (number * LANES + lane) as u16);
                self.planes[component].write(row, &blocks, group, quant)?;
            }
        }
        Ok(())
    }

    /// Writes the pixels of row `mcu_y` of MCUs: each of `wanted` to the next of `lines`.
    pub(in crate::pixel::jpeg) fn emit<'a>(
        &mut self,
        frame: &Frame,
        mcu_y: usize,
        wanted: &[bool],
        lines: &mut impl Iterator<Item = &'a mut [u8]>,
    ) {
        let height = 8 * frame.max_v_samp;
        let blends = frame.components.iter().any(Component::blends_rows);
        // Where rows are blended one row late, since the samples below it come later.
        let late = usize::from(blends);
        let is_last = mcu_y + 1 == frame.mcus_down;
        let from = (mcu_y * height).saturating_sub(late);
        let to = if is_last {
            frame.size.height
        } else {
            (mcu_y + 1) * height - late
        };
        for y in from..to {
            if wanted.get(y) != Some(&true) {
                continue;
            }
            let Some(line) = lines.next() else {
                break;
            };
            let mut sources = [Source::default(); MAX_COMPONENTS];
            let components = frame.components.iter().zip(&self.planes);
            for (source, (component, plane)) in sources.iter_mut().zip(components) {
                *source = source_of(component, plane, y, mcu_y);
            }
            emit(frame, &sources, &mut self.rows, line);
        }
        if blends {
            self.planes.iter_mut().for_each(Plane::carry);
        }
    }
}

/// A row of samples of one component.
#[derive(Clone, Copy, Debug, Default)]
struct Source<'a> {
    /// The nearest row.
    near: &'a [u8],
    /// The second nearest one, which is `below` or above.
    far: &'a [u8],
    below: bool,
}

/// The samples that row `y` of pixels is made of.
fn source_of<'a>(component: &Component, plane: &'a Plane, y: usize, mcu_y: usize) -> Source<'a> {
    let first = (mcu_y * 8 * component.v_samp) as isize;
    let near = y / component.v_ratio;
    let row = |y: usize| plane.row(y as isize - first);
    if !component.blends_rows() {
        return Source {
            near: row(near),
            ..Source::default()
        };
    }
    let below = y & 1 == 1;
    let far = if below {
        (near + 1).min(component.valid_height - 1)
    } else {
        near.saturating_sub(1)
    };
    Source {
        near: row(near),
        far: row(far),
        below,
    }
}

/// Makes a row of pixels.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+bmi1+bmi2",
    "x86_64+avx2+bmi1+bmi2",
    "aarch64+neon"
))]
fn emit(frame: &Frame, sources: &[Source<'_>; MAX_COMPONENTS], rows: &mut Rows, rgb: &mut [u8]) {
    // All planes have room for a whole number of vectors.
    let padded = frame.size.width.next_multiple_of(VECTOR);
    let Rows { sums, out, planes } = rows;
    let mut full: [&[u8]; MAX_COMPONENTS] = [&[]; MAX_COMPONENTS];
    let components = frame.components.iter().zip(sources);
    for (((component, source), out), full) in components.zip(out).zip(&mut full) {
        let Source { near, far, below } = *source;
        let cut = |row: &'_ [u8], len: usize| row.len().min(len);
        let valid = component.valid_width;
        *full = match component.upsampling {
            Upsampling::Full | Upsampling::Replicate(1, _) => near,
            Upsampling::H1v2Fancy => {
                let len = cut(near, padded);
                upsample::h1v2_fancy(&near[..len], &far[..len], below, out);
                out
            }
            Upsampling::H2v1Fancy => {
                upsample::h2v1_fancy(&near[..cut(near, padded / 2)], valid, sums, out);
                out
            }
            Upsampling::H2v2Fancy => {
                let len = cut(near, padded / 2);
                upsample::h2v2_fancy(&near[..len], &far[..len], valid, sums, out);
                out
            }
            Upsampling::Replicate(times, _) => {
                upsample::replicate(&near[..cut(near, padded.div_ceil(times))], times, out);
                out
            }
        };
        *full = full.get(..padded).unwrap_or_default();
    }
    let [first, second, third, fourth] = full;
    debug_assert!(first.len() == padded, "a plane is narrower than the image");
    match frame.colours {
        Colours::Grey => colour::grey(first, rgb),
        Colours::Rgb => colour::rgb(first, second, third, rgb),
        Colours::YCbCr => colour::ycc(first, second, third, planes, rgb),
        Colours::Cmyk => colour::cmyk([first, second, third, fourth], rgb),
        Colours::Ycck => colour::ycck([first, second, third, fourth], rgb),
    }
}
