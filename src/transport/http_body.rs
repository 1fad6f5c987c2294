//! Reading a request's body: its length is judged and its room reserved before it is read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::compression::Encoding;
use crate::admission::ByteReservation;
use crate::error::{Error, Kind};
use crate::front::{Settings, Visit};
use crate::observe::timing::Stage;
use crate::oip::InferenceService;

/// Room is taken in such steps for a body that does not tell its length.
const STEP: usize = 256 * 1024;

/// How long the rest of a refused body is read over, so that its sender gets to read the answer.
const DISCARD: Duration = Duration::from_secs(1);

/// A body, and its room among `--max_bytes_in_flight`.
#[derive(Debug)]
pub struct Read {
    /// The bytes.
    pub bytes: Bytes,
    /// To be kept as long as the bytes are.
    pub reserved: Vec<ByteReservation>,
}

/// Reads a body of at most `--max_body_bytes`, also when inflated, within
/// `--body_read_timeout_seconds`.
///
/// # Errors
///
/// When it is too large, damaged, too slow or cut short, or there is no room for it.
pub async fn read(
    served: &dyn InferenceService,
    settings: &Settings,
    visit: &Visit,
    body: &mut Incoming,
) -> Result<Read, Error> {
    let _clock = visit.timings.stage(Stage::Read);
    let encoding = Encoding::of_request(&visit.headers)?;
    let read = read_within(served, settings, body).await?;
    match encoding {
        Some(encoding) => inflate(served, settings, read, encoding).await,
        None => Ok(read),
    }
}

/// Reads over what is left of a refused request's body: a connection that is closed while its
/// sender still writes is reset, and the answer is lost with it. One who waits to be told to go on
/// has not begun to write.
pub async fn discard(headers: &HeaderMap, body: &mut Incoming) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD, rest).await;
}

async fn inflate(
    served: &dyn InferenceService,
    settings: &Settings,
    read: Read,
    encoding: Encoding,
) -> Result<Read, Error> {
    let limit = settings.max_body_bytes;
    let Read { bytes, reserved } = read;
    let compressed = bytes.len();
    let bytes = served
        .aside(compressed, move || encoding.inflate(&bytes, limit))
        .await??;
    // Given back first: those who hold room and ask for more would wait for each other.
    drop(reserved);
    let reserved = served.reserve(bytes.len()).await?;
    Ok(Read {
        bytes,
        reserved: reserved.into_iter().collect(),
    })
}

async fn read_within(
    served: &dyn InferenceService,
    settings: &Settings,
    body: &mut Incoming,
) -> Result<Read, Error> {
    let limit = settings.max_body_bytes;
    let announced = body.size_hint().exact().map(|length| length as usize);
    let mut reserved = Vec::new();
    if let Some(length) = announced {
        within(length, limit)?;
        reserved.extend(served.reserve(length).await?);
    }
    let time = settings.body_read_timeout;
    let read = async {
        match announced {
            Some(_) => Ok(body.collect().await.map_err(cut_short)?.to_bytes()),
            None => grow(served, body, limit, &mut reserved).await,
        }
    };
    let bytes = tokio::time::timeout(time, read).await.map_err(|_| {
        Error::new(
            Kind::Invalid,
            format!(
                "the body did not arrive within {} s (--body_read_timeout_seconds)",
                time.as_secs()
            ),
        )
    })??;
    Ok(Read { bytes, reserved })
}

async fn grow(
    served: &dyn InferenceService,
    body: &mut Incoming,
    limit: usize,
    reserved: &mut Vec<ByteReservation>,
) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    let mut room = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut_short)?.into_data() else {
            continue;
        };
        within(bytes.len() + data.len(), limit)?;
        while room < bytes.len() + data.len() {
            reserved.extend(served.reserve(STEP).await?);
            room += STEP;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn within(length: usize, limit: usize) -> Result<(), Error> {
    if length <= limit {
        return Ok(());
    }
    Err(Error::new(
        Kind::TooLarge,
        format!(
            "the body has {length} bytes or more; at most {limit} are allowed (--max_body_bytes)"
        ),
    ))
}

fn cut_short(error: hyper::Error) -> Error {
    Error::new(Kind::Invalid, format!("the body was cut short: {error}"))
}
