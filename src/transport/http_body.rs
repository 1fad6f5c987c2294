//! Reading an HTTP request's body: its length is judged and its bytes are reserved before it is
//! read.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;

use super::body_limits::SMALL_BODY_BYTES;
use super::compression::Encoding;
use super::{BodyError, BodyLimits};
use crate::admission::ByteReservation;
use crate::observe::timing::Timings;

/// A body that was read.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    /// How many there were before they were inflated.
    pub(crate) sent_bytes: usize,
    /// To be kept for as long as the bytes, or what is made from them, are needed.
    pub(crate) reserved: Option<ByteReservation>,
}

/// Reads a body within its limits and before the request's deadline, and inflates it.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: &mut B,
    limits: &BodyLimits,
    deadline: Instant,
    timings: &Timings,
) -> Result<ReadBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let encoding = Encoding::of_request(headers)?;
    let reader = Reader {
        body,
        limits,
        deadline: Some(deadline),
        timings,
    };
    let read = reader.read().await?;
    let Some(encoding) = encoding else {
        return Ok(read);
    };
    let sent_bytes = read.sent_bytes;
    let inflated = limits.inflate(read.bytes, encoding, Vec::new()).await?;
    Ok(ReadBody {
        bytes: Bytes::from(inflated.bytes),
        sent_bytes,
        reserved: inflated.reserved,
    })
}

struct Reader<'a, B> {
    body: &'a mut B,
    limits: &'a BodyLimits,
    deadline: Option<Instant>,
    timings: &'a Timings,
}

impl<B> Reader<'_, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    async fn read(mut self) -> Result<ReadBody, BodyError> {
        let Some(length) = self.body.size_hint().exact() else {
            return self.read_chunked().await;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.limits.check_length(length)?;
        let reserved = self.limits.reserve(length, self.deadline, self.timings);
        let reserved = reserved.await?;
        let read_by = Instant::now() + self.limits.read_timeout;
        let collected = self
            .limits
            .in_time(self.deadline, Some(read_by), self.body.collect())
            .await?;
        let bytes = collected.map_err(cut_short)?.to_bytes();
        Ok(ReadBody {
            sent_bytes: bytes.len(),
            bytes,
            reserved,
        })
    }

    /// Reads a body that does not tell its length. Once it is not a small one, the most that it can
    /// have is reserved, and the rest given back at its end: were its bytes reserved as it grows,
    /// uploads side by side would each hold some and wait for more.
    async fn read_chunked(&mut self) -> Result<ReadBody, BodyError> {
        let (limits, deadline) = (self.limits, self.deadline);
        let read_by = Instant::now() + limits.read_timeout;
        let mut bytes = BytesMut::new();
        let small = SMALL_BODY_BYTES.min(limits.max_bytes);
        let more = self.read_up_to(small, &mut bytes);
        let mut reserved = None;
        if limits.in_time(deadline, Some(read_by), more).await?? {
            let most = limits.reserve(limits.max_bytes, deadline, self.timings);
            reserved = most.await?;
            let read_by = Instant::now() + limits.read_timeout;
            let rest = self.read_up_to(limits.max_bytes, &mut bytes);
            limits.in_time(deadline, Some(read_by), rest).await??;
            limits.check_length(bytes.len())?;
        }
        if let Some(reserved) = &mut reserved {
            reserved.shrink_to(bytes.len());
        }
        Ok(ReadBody {
            sent_bytes: bytes.len(),
            bytes: bytes.freeze(),
            reserved,
        })
    }

    /// Reads until the body ends or has more than `most` bytes; whether the latter is so.
    async fn read_up_to(&mut self, most: usize, bytes: &mut BytesMut) -> Result<bool, BodyError> {
        while bytes.len() <= most {
            let Some(frame) = self.body.frame().await else {
                return Ok(false);
            };
            if let Ok(data) = frame.map_err(cut_short)?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(true)
    }
}

fn cut_short(error: impl std::fmt::Display) -> BodyError {
    BodyError::CutShort(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::future::join_all;
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::admission::ByteBudget;
    use crate::observe::metrics::Metrics;
    use crate::workers::CpuPool;

    fn limits(budget: usize) -> BodyLimits {
        let metrics = Arc::new(Metrics::default());
        BodyLimits {
            max_bytes: 4 << 20,
            stream_idle_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
            budget: ByteBudget::new(budget, Duration::from_secs(5), &metrics),
            pool: CpuPool::start(1).unwrap(),
        }
    }

    /// A body of this many chunks of 64 KiB, each a moment after the one before.
    fn chunked(chunks: usize) -> impl Body<Data = Bytes, Error = Infallible> {
        let chunks = stream::iter(0..chunks).then(|_| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Frame::data(Bytes::from(vec![7; 64 * 1024])))
        });
        StreamBody::new(Box::pin(chunks))
    }

    async fn read_chunked(chunks: usize, limits: &BodyLimits) -> Result<ReadBody, BodyError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let timings = Timings::start();
        let mut body = chunked(chunks);
        read(&HeaderMap::new(), &mut body, limits, deadline, &timings).await
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_of_unknown_length_follow_each_other() {
        let limits = limits(4 << 20);
        let uploads = (0..3).map(|_| async {
            let body = read_chunked(48, &limits).await?;
            Ok::<_, BodyError>(body.bytes.len())
        });
        for length in join_all(uploads).await {
            assert_eq!(length.unwrap(), 3 << 20);
        }
        let body = read_chunked(16, &limits).await.unwrap();
        assert!(
            limits.budget.try_reserve(3 << 20).is_ok(),
            "the rest is given back"
        );
        drop(body);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_of_unknown_length_needs_no_bytes() {
        let limits = limits(1);
        let _held = limits.budget.reserve(1).await.unwrap();
        assert!(read_chunked(1, &limits).await.unwrap().reserved.is_none());
        let refused = read_chunked(2, &limits).await.unwrap_err();
        assert!(matches!(refused, BodyError::Refused(_)), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_beyond_the_limit_or_the_deadline_is_refused() {
        let limits = limits(8 << 20);
        let refused = read_chunked(65, &limits).await.unwrap_err();
        assert!(matches!(refused, BodyError::TooLarge { .. }), "{refused}");
        let soon = Instant::now() + Duration::from_millis(5);
        let timings = Timings::start();
        let mut body = chunked(10);
        let late = read(&HeaderMap::new(), &mut body, &limits, soon, &timings).await;
        assert!(matches!(late, Err(BodyError::DeadlinePassed)));
    }
}
