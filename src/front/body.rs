//! Reading a request's body: its length is judged and its room reserved before it is read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::App;
use crate::admission::Reserved;
use crate::error::{Error, Kind};
use crate::timing::{Stage, Timings};

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
    pub reserved: Vec<Reserved>,
}

/// Reads a body of at most `--max_body_bytes` within `--body_read_timeout_seconds`.
///
/// # Errors
///
/// When it is too large, encoded, too slow or cut short, or there is no room for it.
pub async fn read(
    app: &App,
    headers: &HeaderMap,
    mut body: Incoming,
    timings: &Timings,
) -> Result<Read, Error> {
    let _clock = timings.stage(Stage::Read);
    let result = read_within(app, headers, &mut body).await;
    if result.is_err() {
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(DISCARD, rest).await;
    }
    result
}

async fn read_within(app: &App, headers: &HeaderMap, body: &mut Incoming) -> Result<Read, Error> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && encoding.as_bytes() != b"identity"
    {
        return Err(Error::new(
            Kind::Encoding,
            "this content-encoding is not understood; send the body as it is",
        ));
    }
    let limit = app.settings.max_body_bytes;
    let announced = body.size_hint().exact().map(|length| length as usize);
    let mut reserved = Vec::new();
    if let Some(length) = announced {
        within(length, limit)?;
        reserved.push(app.engine.reserve(length).await?);
    }
    let time = app.settings.body_read_timeout;
    let read = async {
        match announced {
            Some(_) => Ok(body.collect().await.map_err(cut_short)?.to_bytes()),
            None => grow(app, body, limit, &mut reserved).await,
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
    app: &App,
    body: &mut Incoming,
    limit: usize,
    reserved: &mut Vec<Reserved>,
) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    let mut room = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut_short)?.into_data() else {
            continue;
        };
        within(bytes.len() + data.len(), limit)?;
        while room < bytes.len() + data.len() {
            reserved.push(app.engine.reserve(STEP).await?);
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
