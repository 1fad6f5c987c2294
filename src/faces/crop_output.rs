//! The output `crop`, made on request: the very pixels that the quality model was given, so that a
//! person can see what was judged.

use super::SIDE;
use crate::error::Error;
use crate::pixel::Normalize;
use crate::transformer::{Column, Columns, Cx, Keeper, Kept, RowMut};
use crate::wire::tensor::DataType;

const NAME: &str = "crop";

/// UINT8 `[112,112,3]`, red first: a line for each score.
pub(super) fn column() -> Column {
    let side = SIDE as i64;
    Column::new(NAME, DataType::Uint8, &[side, side, 3]).on_request()
}

/// A face's crop, counted among the bytes in flight; nothing unless it was asked for.
#[derive(Debug)]
pub(super) struct CropPixels(Option<Kept<Vec<u8>>>);

impl CropPixels {
    /// Of tensors that came ready-made.
    pub(super) const NONE: Self = Self(None);

    pub(super) fn write(&self, to: &mut Columns) -> Result<(), Error> {
        match &self.0 {
            Some(pixels) => to.uint8(NAME, pixels),
            None => Ok(()),
        }
    }

    /// Black, for an image that failed.
    pub(super) fn write_failed(to: &mut Columns) -> Result<(), Error> {
        if to.wants(NAME) {
            return to.uint8(NAME, &[0; SIDE * SIDE * 3]);
        }
        Ok(())
    }
}

/// Keeps the crops of a request that asks for them.
pub(super) struct CropKeeper(Option<Keeper>);

impl CropKeeper {
    pub(super) fn new(cx: &Cx<'_>) -> Self {
        Self(cx.wants(NAME).then(|| cx.keeper()))
    }

    /// The pixels of a row that has just been filled.
    pub(super) fn keep(&self, row: &RowMut) -> Result<CropPixels, Error> {
        let Some(keeper) = &self.0 else {
            return Ok(CropPixels::NONE);
        };
        let pixels = row.pixels(0, &Normalize::CENTERED);
        let bytes = pixels.len();
        Ok(CropPixels(Some(keeper.keep(pixels, bytes)?)))
    }
}
