//! A stage: many rows in, many rows out, on one model. Rows are filled on the pixel threads, in the
//! memory in which they go out; a chunk of as many as a call takes goes out as soon as its rows are
//! full, while the next is being filled; each output row is read together with what filling kept.
//!
//! ```text
//! images ── fetch ──→ fill (pixel threads) ──→ chunk full? ──→ call ──→ read
//!            8 ahead     2 × threads ahead                  └─→ call ──→ read
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{Stream, StreamExt};
use tokio::time::sleep_until;

use super::chunks::{CallForm, Chunks, Full, KeptRows};
use super::fill::RowMut;
use super::read::{Outputs, RowRef};
use super::request_pixels::{PixelBudget, RequestPixels};
use super::source::{PixelThreads, WorkerScratch, encoded, fetch};
use super::{Image, Keeper, Model, Rows};
use crate::admission::{ByteBudget, FairPermit};
use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::item::{FetchPermits, Fetcher};
use crate::observe::timing::{Stage, Timings};
use crate::pixel::Scratch;
use crate::predictor::{self, Readiness};
use crate::recognise::{Place, recognise};
use crate::wire::tensor::Tensor;

/// Whether one image that cannot be read fails the others (`--image_errors`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageErrors {
    /// The request fails with the first bad image.
    #[default]
    Fail,
    /// Score the other images and return the error in the image's place
    Report,
}

/// Images of one request that are fetched side by side.
const MAX_FETCHES: usize = 8;

/// Calls of one stage of one request that are in flight or wait for a permit; beyond, no more rows are
/// filled. Their tensors are memory.
const MAX_CALLS: usize = 16;

/// Bytes of a call's outputs from which they are read on a pixel thread, as a detector's maps are.
const OFFLOAD_BYTES: usize = 64 * 1024;

/// What all requests share.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    /// The threads that decode and resize.
    pub(crate) pixels: Arc<PixelThreads>,
    /// Where items other than `data:` come from.
    pub(crate) fetcher: Arc<Fetcher>,
    /// The pixels of one request, and of all of them.
    pub(crate) pixel_budget: PixelBudget,
    /// What tensors and kept images are counted in.
    pub(crate) bytes: ByteBudget,
}

/// A request on its way through a transformer.
pub struct Cx<'a> {
    resources: &'a Resources,
    request: &'a RequestContext,
    image_errors: ImageErrors,
    /// Whether errors say which model they are about.
    several_models: bool,
}

/// A row that is full, and what filling kept.
type Filled<K> = Result<(K, RowMut), Error>;

impl<'a> Cx<'a> {
    pub(crate) fn new(
        resources: &'a Resources,
        request: &'a RequestContext,
        image_errors: ImageErrors,
    ) -> Self {
        Self {
            resources,
            request,
            image_errors,
            several_models: false,
        }
    }

    /// The same for a transformer of several models: errors say which one they are about.
    pub(crate) fn naming_models(self, several_models: bool) -> Self {
        Self {
            several_models,
            ..self
        }
    }

    fn name_model(&self, model: &Model, error: Error) -> Error {
        if self.several_models {
            error.with_location(&format!("model {:?}", model.signature().model))
        } else {
            error
        }
    }

    /// The request's id, headers, deadline and timings.
    pub fn request(&self) -> &RequestContext {
        self.request
    }

    /// Whether the caller asks for this output, one of those that are made on request only
    /// ([`Column::on_request`](super::Column::on_request)).
    pub fn wants(&self, output: &str) -> bool {
        let asked = &self.request.outputs_on_request;
        asked.iter().any(|name| name == output)
    }

    /// Keeps what a stage leaves for the next ones.
    pub fn keeper(&self) -> Keeper {
        Keeper::new(self.resources.bytes.clone())
    }

    /// Each image fills its row of the model's inputs on a pixel thread; `K` is what filling keeps: a
    /// decoded image, a scale, nothing. Each output row is read together with it.
    ///
    /// # Errors
    ///
    /// When the model fails, a row cannot be read, the request's time is up, or an image fails and
    /// `--image_errors` is `fail`.
    pub async fn images<K, O>(
        &self,
        model: &Model,
        images: Vec<Image>,
        fill: impl Fn(&[u8], &mut RowMut, &mut Scratch) -> Result<K, Error> + Send + Sync + 'static,
        read: impl Fn(K, RowRef<'_>) -> Result<O, Error> + Send + Sync + 'static,
    ) -> Result<Rows<O>, Error>
    where
        K: Send + 'static,
        O: Send + 'static,
    {
        let count = images.len();
        let pixels = self.resources.pixel_budget.admit(&images)?;
        let turns = Arc::clone(&pixels);
        let permits = FetchPermits::default();
        let fetched = stream::iter(images)
            .map(|image| {
                let (fetcher, permits) = (&self.resources.fetcher, permits.clone());
                let timings = &self.request.timings;
                async move { fetch(image, fetcher, &permits, timings).await }
            })
            .buffered(MAX_FETCHES)
            .enumerate()
            .then(move |(index, image)| take_turn(Arc::clone(&turns), index, image));
        let max_item_bytes = self.resources.fetcher.max_item_bytes();
        let fill = move |(index, image, _turn): (usize, Image, FairPermit),
                         row: &mut RowMut,
                         scratch: &mut WorkerScratch| {
            let bytes = encoded(&image, max_item_bytes, &mut scratch.encoded)?;
            let counted = pixels.check(index, bytes)?;
            let filled = fill(bytes, row, &mut scratch.pixels);
            pixels.decoded(counted, scratch.pixels.decoded_pixels());
            filled.map_err(|error| match recognise(bytes, Place::Image) {
                Some(recognised) if error.kind == Kind::Invalid => {
                    Error::new(error.kind, recognised.to_string())
                }
                _ => error,
            })
        };
        let fails = self.image_errors == ImageErrors::Fail;
        let stop = move |index, error: Error| {
            if fails {
                Err(error.with_image(index))
            } else {
                Ok(error)
            }
        };
        self.run(model, (count, fetched), fill, read, stop).await
    }

    /// The same from values at hand: crops of an image, features of another model. A value that fails
    /// fails alone.
    ///
    /// # Errors
    ///
    /// When the model fails, a row cannot be read, or the request's time is up.
    pub async fn values<T, K, O>(
        &self,
        model: &Model,
        values: Vec<T>,
        fill: impl Fn(T, &mut RowMut, &mut Scratch) -> Result<K, Error> + Send + Sync + 'static,
        read: impl Fn(K, RowRef<'_>) -> Result<O, Error> + Send + Sync + 'static,
    ) -> Result<Rows<O>, Error>
    where
        T: Send + 'static,
        K: Send + 'static,
        O: Send + 'static,
    {
        let source = (values.len(), stream::iter(values).map(Ok));
        let fill = move |value, row: &mut RowMut, scratch: &mut WorkerScratch| {
            fill(value, row, &mut scratch.pixels)
        };
        let stop = |_, error| Ok(self.name_model(model, error));
        self.run(model, source, fill, read, stop).await
    }

    /// The same for tensors that came ready-made: all inputs of the model, in its signature's order.
    ///
    /// # Errors
    ///
    /// As [`Self::values`].
    pub async fn tensors<O>(
        &self,
        model: &Model,
        tensors: Vec<Tensor>,
        read: impl Fn(RowRef<'_>) -> Result<O, Error> + Send + Sync + 'static,
    ) -> Result<Rows<O>, Error>
    where
        O: Send + 'static,
    {
        let read = Arc::new(move |(), row: RowRef<'_>| read(row));
        let form = self.form(model)?;
        let count = tensors.first().map_or(0, Tensor::rows);
        let mut inputs: Vec<_> = tensors
            .into_iter()
            .map(|tensor| tensor.split(form.rows).into_iter())
            .collect();
        let calls = (0..count).step_by(form.rows).map(|begin| {
            let rows = begin..count.min(begin + form.rows);
            let full = Full {
                inputs: inputs.iter_mut().filter_map(Iterator::next).collect(),
                kept: rows.map(|row| (row, ())).collect(),
                // They are a part of the body, whose bytes are reserved.
                reserved: self.resources.bytes.reserve_now(0),
            };
            self.call(model, full, Arc::clone(&read))
        });
        let calls = try_join_all(calls).await?;
        Ok(calls
            .into_iter()
            .flatten()
            .map(|(_, row)| Ok(row))
            .collect())
    }

    /// Fills, calls and reads, chunk by chunk. Of one request only so many rows stand in the queue of
    /// the pixel threads at once: so requests take turns on the threads, and the images behind one
    /// that fails need not be begun. `stop` decides what a row's failure does.
    async fn run<T, K, O>(
        &self,
        model: &Model,
        (count, source): (usize, impl Stream<Item = Result<T, Error>>),
        fill: impl Fn(T, &mut RowMut, &mut WorkerScratch) -> Result<K, Error> + Send + Sync + 'static,
        read: impl Fn(K, RowRef<'_>) -> Result<O, Error> + Send + Sync + 'static,
        stop: impl Fn(usize, Error) -> Result<Error, Error> + Send,
    ) -> Result<Rows<O>, Error>
    where
        T: Send + 'static,
        K: Send + 'static,
        O: Send + 'static,
    {
        if count == 0 {
            return Ok(Vec::new());
        }
        let form = self.form(model)?;
        let mut preprocess = Some(self.request.timings.stage(Stage::Preprocess));
        let (fill, read) = (Arc::new(fill), Arc::new(read));
        let chunks = Chunks::new(&self.resources.bytes);
        let threads = &self.resources.pixels;
        let filled = source
            .zip(stream::iter(chunks.rows(model, &form, count)))
            .map(|(value, row)| {
                let (fill, timings) = (Arc::clone(&fill), Arc::clone(&self.request.timings));
                async move { fill_row(threads, value?, row, fill, timings).await }
            })
            .buffered(2 * threads.threads());
        let mut filled = pin!(filled);
        let mut results: Vec<Option<Result<O, Error>>> = (0..count).map(|_| None).collect();
        let mut calls = FuturesUnordered::new();
        let mut next = 0;
        let mut late = pin!(sleep_until(self.request.deadline.instant().into()));
        while preprocess.is_some() || !calls.is_empty() {
            tokio::select! {
                biased;
                Some(rows) = calls.next(), if !calls.is_empty() => place(rows?, &mut results),
                row = filled.next(), if preprocess.is_some() && calls.len() < MAX_CALLS => {
                    let Some(row) = row else {
                        preprocess = None;
                        continue;
                    };
                    let full = match row {
                        Ok((kept, row)) => chunks.add(next, Some((kept, row))),
                        Err(error) => {
                            results[next] = Some(Err(stop(next, error)?));
                            chunks.add(next, None)
                        }
                    };
                    next += 1;
                    if next == count {
                        preprocess = None;
                    }
                    calls.extend(full.map(|full| self.call(model, full, Arc::clone(&read))));
                }
                // The predictor sees to the deadline of its calls.
                () = &mut late, if preprocess.is_some() => return Err(too_late(self.request)),
            }
        }
        complete(results)
    }

    fn form(&self, model: &Model) -> Result<CallForm, Error> {
        match model.readiness() {
            Readiness::Ready { max_batch, inputs } => Ok(CallForm {
                rows: model.rows_in_call(max_batch),
                datatypes: inputs,
            }),
            Readiness::NotReady(reason) => {
                let error = predictor::Error::NotReady(reason).into();
                Err(self.name_model(model, error))
            }
        }
    }

    /// The rows of one call, read from its outputs. A wrong value fails the whole request: it says that
    /// the predictor is broken.
    async fn call<K, O>(
        &self,
        model: &Model,
        full: Full<K>,
        read: Arc<impl Fn(K, RowRef<'_>) -> Result<O, Error> + Send + Sync + 'static>,
    ) -> Result<Vec<(usize, O)>, Error>
    where
        K: Send + 'static,
        O: Send + 'static,
    {
        let predict = self.request.timings.stage(Stage::Predict);
        let reserved = full.reserved;
        let outputs = model.0.infer(full.inputs, self.request).await;
        drop((reserved, predict));
        let outputs = outputs.map_err(|error| self.name_model(model, error.into()))?;
        let _timer = self.request.timings.stage(Stage::Postprocess);
        let offload = outputs.iter().map(Tensor::byte_len).sum::<usize>() >= OFFLOAD_BYTES;
        let work = move || read_rows(&Outputs::new(outputs), full.kept, &*read);
        let rows = if offload {
            self.resources.pixels.run(move |_| work()).await?
        } else {
            work()
        };
        rows.map_err(|error| self.name_model(model, error))
    }
}

fn read_rows<K, O>(
    outputs: &Outputs,
    kept: KeptRows<K>,
    read: &impl Fn(K, RowRef<'_>) -> Result<O, Error>,
) -> Result<Vec<(usize, O)>, Error> {
    let kept = kept.into_iter().enumerate();
    kept.map(|(line, (index, kept))| Ok((index, read(kept, outputs.row(line))?)))
        .collect()
}

/// Puts rows where their images are.
fn place<O>(rows: Vec<(usize, O)>, results: &mut [Option<Result<O, Error>>]) {
    for (index, row) in rows {
        results[index] = Some(Ok(row));
    }
}

/// An image that has been fetched, when it is its turn among those of its request.
async fn take_turn(
    pixels: Arc<RequestPixels>,
    index: usize,
    image: Result<Image, Error>,
) -> Result<(usize, Image, FairPermit), Error> {
    let image = image?;
    Ok((index, image, pixels.turn(index).await))
}

/// One row on a pixel thread. A panic is the row's error and no other's: the threads catch it.
async fn fill_row<T, K>(
    threads: &PixelThreads,
    value: T,
    mut row: RowMut,
    fill: Arc<
        impl Fn(T, &mut RowMut, &mut WorkerScratch) -> Result<K, Error> + Send + Sync + 'static,
    >,
    timings: Arc<Timings>,
) -> Filled<K>
where
    T: Send + 'static,
    K: Send + 'static,
{
    let queued = Instant::now();
    let work = move |scratch: &mut WorkerScratch| {
        timings.add(Stage::PixelWait, queued.elapsed());
        let filled = fill(value, &mut row, scratch);
        let times = scratch.pixels.take_times();
        for (stage, time) in [(Stage::Decode, times.decode), (Stage::Resize, times.resize)] {
            if let Some(time) = time {
                timings.add(stage, time);
            }
        }
        let kept = filled?;
        row.check()?;
        Ok((kept, row))
    };
    threads.run(work).await.map_err(Error::from)?
}

/// Every row has its result by now; if not, it is our mistake.
fn complete<O>(results: Vec<Option<Result<O, Error>>>) -> Result<Rows<O>, Error> {
    let results = results.into_iter();
    let rows: Option<Rows<O>> = results.collect();
    rows.ok_or_else(|| Error::internal("a row has no result"))
}

fn too_late(context: &RequestContext) -> Error {
    Error::new(
        Kind::Deadline,
        format!(
            "the request's images were not ready within {} ms \
             (--predictor_request_timeout_seconds, or the caller's own deadline)",
            context.timings.total().as_millis()
        ),
    )
}
