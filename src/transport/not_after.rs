//! When a certificate ends: of X.509's DER no more than is needed to find that.

use time::{Date, Month, PrimitiveDateTime, Time};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity, in seconds since 1970; nothing where it is not one.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (body, _) = value(certificate, SEQUENCE)?;
    // The version is left out where it is 1.
    let body = match element(body)? {
        (VERSION, _, rest) => rest,
        _ => body,
    };
    let (_serial, _, body) = element(body)?;
    let (_signature, _, body) = element(body)?;
    let (_issuer, _, body) = element(body)?;
    let (validity, _) = value(body, SEQUENCE)?;
    let (_not_before, _, validity) = element(validity)?;
    let (tag, text, _) = element(validity)?;
    seconds(tag, std::str::from_utf8(text).ok()?)
}

/// Tag and content of the first element, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, mut bytes) = bytes.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, rest) = bytes.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > size_of::<u32>() {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |length, &digit| length << 8 | usize::from(digit));
        bytes = rest;
    }
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn value(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == expected).then_some((content, rest))
}

/// `YYMMDDHHMMSSZ`, whose years are from 1950 to 2049, or the same with four digits of the year.
fn seconds(tag: u8, text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 } else { 1900 } + year, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |place: usize| rest.get(2 * place..2 * place + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(1)?);
    let time = Time::from_hms(part(2)?, part(3)?, part(4)?);
    let moment = PrimitiveDateTime::new(date.ok()?, time.ok()?);
    Some(moment.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_read() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20500101000000Z"),
            Some(2_524_608_000)
        );
        for nonsense in [
            "",
            "Z",
            "70Z",
            "701301000000Z",
            "700101000000",
            "é0101000000Z",
        ] {
            assert_eq!(seconds(UTC_TIME, nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_certificate() {
        assert_eq!(not_after(&[]), None);
        assert_eq!(not_after(&[SEQUENCE, 0x82, 0xff]), None);
        assert_eq!(not_after(&[SEQUENCE, 2, SEQUENCE, 0]), None);
    }
}
