//! Reading an HTTP request's body: its length is judged and its bytes are reserved before it is
//! read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::compression::Encoding;
use super::{BodyError, BodyLimits};
use crate::admission::ByteReservation;

/// Bytes are reserved in such steps for a body that does not tell its length.
const STEP: usize = 256 * 1024;

/// How long the rest of a refused body is read over, so that its sender gets to read the response.
const DISCARD: Duration = Duration::from_secs(1);

/// A body that was read.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    /// To be kept for as long as the bytes, or what is made from them, are needed.
    pub(crate) reserved: Vec<ByteReservation>,
}

/// Reads a body within its limits and inflates it.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: &mut Incoming,
    limits: &BodyLimits,
) -> Result<ReadBody, BodyError> {
    let encoding = Encoding::of_request(headers)?;
    let read = read_as_sent(body, limits).await?;
    match encoding {
        Some(encoding) => inflate(read, encoding, limits).await,
        None => Ok(read),
    }
}

/// Reads over what is left of a refused request's body: a connection that is closed while its
/// sender still writes is reset, and the response is lost with it. A sender that waits to be told
/// to go on has not begun to write.
pub(crate) async fn discard(headers: &HeaderMap, body: &mut Incoming) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(DISCARD, rest).await;
}

async fn inflate(
    read: ReadBody,
    encoding: Encoding,
    limits: &BodyLimits,
) -> Result<ReadBody, BodyError> {
    let ReadBody { bytes, reserved } = read;
    let max_bytes = limits.max_bytes;
    let bytes = limits
        .pool
        .run(bytes.len(), move || encoding.inflate(&bytes, max_bytes))
        .await??;
    // Given back first: requests that hold bytes and ask for more would wait for each other.
    drop(reserved);
    let reserved = vec![limits.budget.reserve(bytes.len()).await?];
    Ok(ReadBody { bytes, reserved })
}

async fn read_as_sent(body: &mut Incoming, limits: &BodyLimits) -> Result<ReadBody, BodyError> {
    let Some(length) = body.size_hint().exact() else {
        let read = timeout(limits.read_timeout, read_chunked(body, limits)).await;
        return read.map_err(|_| limits.too_slow())?;
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    limits.check_length(length)?;
    let reserved = vec![limits.budget.reserve(length).await?];
    let collected = timeout(limits.read_timeout, body.collect()).await;
    let collected = collected.map_err(|_| limits.too_slow())?;
    Ok(ReadBody {
        bytes: collected.map_err(cut_short)?.to_bytes(),
        reserved,
    })
}

/// Reads a body that does not tell its length; its bytes are reserved as it grows.
async fn read_chunked(body: &mut Incoming, limits: &BodyLimits) -> Result<ReadBody, BodyError> {
    let mut bytes = BytesMut::new();
    let mut reserved = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut_short)?.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        limits.check_length(length)?;
        while reserved.len() * STEP < length {
            reserved.push(limits.budget.reserve(STEP).await?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(ReadBody {
        bytes: bytes.freeze(),
        reserved,
    })
}

fn cut_short(error: hyper::Error) -> BodyError {
    BodyError::CutShort(error.to_string())
}
