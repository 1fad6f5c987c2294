//! What the fuzz targets in `fuzz/` call and the crate does not show otherwise. Not part of what it
//! offers.

use crate::item::Item;
use crate::recognise::{Place, recognise};
use crate::wire::bounds::check_infer_request;

/// Whether the fields of an encoded ModelInferRequest are few enough for it to be built.
///
/// # Errors
///
/// What there is too much of.
pub fn count_infer_request(message: &[u8]) -> Result<(), String> {
    check_infer_request(message).map_err(|error| error.to_string())
}

/// Looks at the text of an item.
///
/// # Errors
///
/// Why it names no image.
pub fn parse_item(text: &str) -> Result<(), String> {
    Item::parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Compares bytes with every known beginning.
pub fn recognise_everywhere(bytes: &[u8]) -> Vec<String> {
    [Place::Body, Place::Item, Place::Image, Place::BytesTensor]
        .into_iter()
        .filter_map(|place| recognise(bytes, place))
        .map(|recognised| recognised.to_string())
        .collect()
}
