//! The pixels of a request's images, counted from their headers before any of them is decoded: small
//! files may hold large images, which would keep the pixel threads from everyone else.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use super::Image;
use crate::admission::{FairBudget, FairPermit, Grants, Refusal};
use crate::error::{Error, Kind};
use crate::item::data_uri;
use crate::observe::metrics::{GaugeGuard, Metrics};
use crate::pixel::header_pixels;

/// Pixels of the images that one request has on a thread, or waiting for one, at once; a larger
/// image goes alone. So an image of another request never stands behind more of them than that.
const TURN_PIXELS: usize = 16_000_000;

/// Bytes of a file in which its header is looked for. Behind long metadata it is found later.
const HEADER_BYTES: [usize; 3] = [64, 768, 6144];

/// The bounds.
#[derive(Clone, Debug)]
pub(crate) struct PixelBudget {
    /// `--max_pixels`: an image with more is refused before it is decoded, so it counts nothing.
    max_image: u64,
    /// `--max_request_pixels`
    max_request: u64,
    /// `--max_pixels_in_flight`
    in_flight: Arc<FairBudget>,
    gauge: Gauge,
    turn: usize,
}

/// A request's pixels in flight; no longer so when this is dropped.
#[derive(Debug)]
pub(super) struct RequestPixels {
    budget: PixelBudget,
    /// By image, as far as its header was found.
    known: Vec<u64>,
    left: AtomicI64,
    /// The images that are decoded or wait for a thread.
    turn: Arc<FairBudget>,
    taken: Mutex<Vec<(FairPermit, GaugeGuard)>>,
}

impl PixelBudget {
    pub(crate) fn new(
        max_image: u64,
        max_request: u64,
        in_flight: u64,
        threads: usize,
        metrics: &Metrics,
    ) -> Self {
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        Self {
            max_image,
            max_request,
            in_flight: FairBudget::new(in_flight, Grants::Whole),
            gauge: metrics.pixels_in_flight.clone(),
            turn: TURN_PIXELS.saturating_mul(threads),
        }
    }

    /// Refuses a request that has too many pixels, alone or beside the others.
    pub(super) fn admit(&self, images: &[Image]) -> Result<Arc<RequestPixels>, Error> {
        let known: Vec<u64> = images.iter().map(|image| self.count(image)).collect();
        let sum = known
            .iter()
            .fold(0, |sum: u64, &more| sum.saturating_add(more));
        if sum > self.max_request {
            return Err(self.too_many(&format!("the request's images have {sum} pixels")));
        }
        let requested = usize::try_from(sum).unwrap_or(usize::MAX);
        let permit = self.in_flight.try_acquire(requested);
        let permit = permit.ok_or_else(|| Refusal::NoPixels {
            in_flight: self.in_flight.taken(),
            requested,
            limit: self.in_flight.limit(),
        })?;
        let left = i64::try_from(self.max_request - sum).unwrap_or(i64::MAX);
        Ok(Arc::new(RequestPixels {
            known,
            left: AtomicI64::new(left),
            turn: FairBudget::new(self.turn, Grants::Whole),
            taken: Mutex::new(vec![(permit, GaugeGuard::add(&self.gauge, requested))]),
            budget: self.clone(),
        }))
    }

    fn count(&self, image: &Image) -> u64 {
        let pixels = match image {
            Image::Encoded(file) => header_pixels(file),
            Image::Item(text) if data_uri::is_data_uri(text) => {
                in_base64(|bytes| data_uri::decode_beginning(text, bytes))
            }
            // Named only.
            Image::Item(_) => None,
            Image::Base64(text) => {
                in_base64(|bytes| data_uri::decode_base64_beginning(text, bytes))
            }
        };
        self.taken(pixels)
    }

    fn taken(&self, pixels: Option<u64>) -> u64 {
        pixels
            .filter(|&pixels| pixels <= self.max_image)
            .unwrap_or_default()
    }

    fn too_many(&self, what: &str) -> Error {
        Error::new(
            Kind::Invalid,
            format!(
                "{what}; one request may have at most {} (--max_request_pixels)",
                self.max_request
            ),
        )
    }
}

/// Decodes no more than it takes to find the header.
fn in_base64(beginning: impl Fn(usize) -> Option<Vec<u8>>) -> Option<u64> {
    HEADER_BYTES
        .into_iter()
        .find_map(|bytes| header_pixels(&beginning(bytes)?))
}

impl RequestPixels {
    /// Waits for this image's turn among those of its request.
    pub(super) async fn turn(&self, index: usize) -> FairPermit {
        let pixels = self.known.get(index).copied().unwrap_or_default();
        let pixels = usize::try_from(pixels).unwrap_or(usize::MAX);
        self.turn.acquire(pixels).await
    }

    /// Counts what was not known of an image, just before it is decoded. Gives the pixels that are counted
    /// for it.
    pub(super) fn check(&self, index: usize, file: &[u8]) -> Result<u64, Error> {
        let known = self.known.get(index).copied().unwrap_or_default();
        let counted = self.budget.taken(header_pixels(file)).max(known);
        self.count(counted - known);
        if self.left.load(Ordering::Relaxed) < 0 {
            return Err(self
                .budget
                .too_many("the images up to this one have more pixels"));
        }
        Ok(counted)
    }

    /// Counts the pixels of an image that has been decoded, beyond those that are counted for it.
    pub(super) fn decoded(&self, counted: u64, pixels: u64) {
        self.count(pixels.saturating_sub(counted));
    }

    /// It runs already, so it is not refused; those that come wait for it.
    fn count(&self, pixels: u64) {
        if pixels == 0 {
            return;
        }
        let counted = i64::try_from(pixels).unwrap_or(i64::MAX);
        self.left.fetch_sub(counted, Ordering::Relaxed);
        let amount = usize::try_from(pixels).unwrap_or(usize::MAX);
        let gauge = GaugeGuard::add(&self.budget.gauge, amount);
        let permit = self.budget.in_flight.take(amount);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push((permit, gauge));
    }
}
