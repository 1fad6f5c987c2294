//! `data:[mime][;param]*;base64,PAYLOAD` to bytes.

use super::Error;

/// Decodes the payload of a `data:` item into `out`, which is cleared first.
///
/// # Errors
///
/// When there is no base64 payload, a character does not belong to it, or it holds more than
/// `max_bytes`.
pub fn decode_into(_item: &str, _max_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    out.clear();
    Ok(())
}

/// Decodes bare base64 into `out`, which is cleared first.
///
/// # Errors
///
/// As [`decode_into`].
pub fn decode_base64_into(_text: &str, _max_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    out.clear();
    Ok(())
}

/// Refuses a picture of more than `max_bytes`.
///
/// # Errors
///
/// When `length` is more.
pub fn check_length(length: usize, max_bytes: usize) -> Result<(), Error> {
    if length <= max_bytes {
        return Ok(());
    }
    Err(Error {
        cause: super::Cause::TooLarge,
        text: format!("the picture has more than {max_bytes} bytes (--max_item_bytes)"),
    })
}
