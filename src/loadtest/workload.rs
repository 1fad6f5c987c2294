//! What is sent: the bodies of all requests, built once before the clock starts, so that sending
//! one costs a reference count.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;

use crate::loadtest::bodies::{self, Body};
use crate::loadtest::error::Error;
use crate::loadtest::protocol::Protocol;
use crate::loadtest::schedule::Random;
use crate::loadtest::settings::{Endpoint, Settings};

/// Images and bodies are kept in memory, so that reading and writing them costs nothing while the
/// clock runs. Beyond this the load test would compete with what it measures, or be killed.
const MAX_BYTES: u64 = 512 << 20;

/// Different tensors, where tensors are sent instead of images.
const TENSORS: usize = 8;

/// An encoded image, or a tensor in its place.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The file's name without its folder: the key in a golden file.
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

fn read_images(paths: &[PathBuf]) -> Result<Vec<Image>, Error> {
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Image {
            name: name.to_string_lossy().into_owned(),
            bytes: bytes.into(),
        })
    };
    paths.iter().map(read).collect()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::Usage(format!("--images: {}: {error}", path.display()))
}

fn file_sizes(paths: &[PathBuf]) -> Result<Vec<u64>, Error> {
    let size = |path: &PathBuf| match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) => Err(unreadable(path, &error)),
    };
    paths.iter().map(size).collect()
}

/// A request ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) body: Body,
    /// The numbers of its images, in order.
    pub(crate) images: Vec<usize>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ImageSet {
    pub count: usize,
    /// Bytes of all of them together.
    pub bytes: u64,
    /// Whether they are tensors of noise instead of encoded images.
    pub tensors: bool,
}

/// All requests; they are sent in turn.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) requests: Vec<Request>,
    /// The images' names, by number.
    pub(crate) names: Vec<String>,
    image_set: ImageSet,
}

impl Workload {
    /// Builds requests of `--batch` images each. Every image is in one of them.
    pub(crate) fn build(endpoint: &Endpoint, settings: &Settings) -> Result<Self, Error> {
        let batch = settings.batch;
        let tensors = endpoint.protocol.sends_tensors();
        let row = &settings.tensors.row;
        if batch == 0 {
            return Err(Error::Usage("--batch must be at least 1".to_owned()));
        }
        if endpoint.protocol == Protocol::Raw && batch > 1 {
            return Err(Error::Usage(
                "--protocol raw sends one image per request: leave --batch at 1".to_owned(),
            ));
        }
        let sizes = if tensors {
            let bytes = row.iter().product::<i64>().unsigned_abs() * size_of::<f32>() as u64;
            vec![bytes; TENSORS]
        } else {
            file_sizes(&settings.images)?
        };
        if sizes.is_empty() {
            return Err(Error::Usage(
                "no images to send: name files or a folder with --images".to_owned(),
            ));
        }
        check_memory(endpoint.protocol, &sizes, batch)?;
        let elements = if tensors {
            noise_images(row)
        } else {
            read_images(&settings.images)?
        };
        let request = |images: Vec<usize>| {
            let chosen: Vec<_> = images.iter().map(|&i| elements[i].bytes.clone()).collect();
            let body = bodies::write(endpoint, &settings.tensors, &chosen)?;
            Ok(Request { body, images })
        };
        Ok(Self {
            requests: batches(elements.len(), batch)
                .map(request)
                .collect::<Result<_, _>>()?,
            names: elements.iter().map(|image| image.name.clone()).collect(),
            image_set: ImageSet {
                count: sizes.len(),
                bytes: sizes.iter().sum(),
                tensors,
            },
        })
    }

    /// What is sent, for the report.
    pub(crate) fn image_set(&self) -> ImageSet {
        self.image_set
    }
}

/// The images of each request. The last one is filled up from the beginning.
fn batches(images: usize, batch: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..images)
        .step_by(batch)
        .map(move |first| (first..first + batch).map(|i| i % images).collect())
}

/// Refuses what does not fit, before any of it is read.
fn check_memory(protocol: Protocol, sizes: &[u64], batch: usize) -> Result<(), Error> {
    let images: u64 = sizes.iter().sum();
    // A request of more images than there are has them more than once.
    let copies = batch.div_ceil(sizes.len()) as u64;
    let base64 = if protocol == Protocol::V1 { 4 } else { 3 };
    let bodies = images.saturating_mul(copies).saturating_mul(base64) / 3;
    let total = images.saturating_add(bodies);
    if total <= MAX_BYTES {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--images and the requests with them take {} MiB of memory, at most {} are allowed: name \
         fewer images, or a smaller --batch",
        total >> 20,
        MAX_BYTES >> 20
    )))
}

/// Tensors of values in [-1, 1), as normalised pixels are.
fn noise_images(row: &[i64]) -> Vec<Image> {
    let values: i64 = row.iter().product();
    (0..TENSORS)
        .map(|number| {
            let mut random = Random(number as u64);
            let value = |_| ((random.unit() * 2.0 - 1.0) as f32).to_le_bytes();
            Image {
                name: format!("noise-{number}"),
                bytes: (0..values).flat_map(value).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
impl Workload {
    /// Requests that carry nothing, for tests of what comes of them.
    pub(crate) fn for_tests(names: &[&str], batch: usize) -> Self {
        let request = |images| Request {
            body: Body {
                bytes: Bytes::new(),
                json_length: None,
            },
            images,
        };
        Self {
            requests: batches(names.len(), batch).map(request).collect(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            image_set: ImageSet {
                count: names.len(),
                bytes: 0,
                tensors: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_sent_and_batches_are_full() {
        let batches: Vec<_> = batches(5, 2).collect();
        assert_eq!(batches, [[0, 1], [2, 3], [4, 0]]);
    }

    #[test]
    fn tensors_are_noise_and_differ() {
        let images = noise_images(&[3, 2]);
        assert_eq!(images.len(), TENSORS);
        assert_eq!(images[0].bytes.len(), 3 * 2 * 4);
        assert_ne!(images[0].bytes, images[1].bytes);
    }

    #[test]
    fn what_does_not_fit_in_memory_is_refused_with_its_size() {
        let refusal = |protocol, sizes: &[u64], batch| {
            let checked = check_memory(protocol, sizes, batch);
            checked.map_err(|error| error.to_string())
        };
        let mib = 1 << 20;
        assert!(refusal(Protocol::V1, &[200 * mib], 1).is_ok());
        // Base64 takes a third more.
        assert!(refusal(Protocol::V2, &[250 * mib], 1).is_ok());
        let text = refusal(Protocol::V1, &[250 * mib], 1).unwrap_err();
        assert!(
            text.contains("take 583 MiB of memory, at most 512"),
            "{text}"
        );
        // An image of a megabyte a thousand times in one request.
        assert!(refusal(Protocol::V2, &[mib], 1000).is_err());
        assert!(refusal(Protocol::V2, &[u64::MAX / 2, mib], 1).is_err());
    }
}
