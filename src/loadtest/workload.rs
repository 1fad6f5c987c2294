//! What is sent: the bodies of all requests, built once before the clock starts, so that sending
//! one costs a reference count.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::loadtest::bodies::{self, Body};
use crate::loadtest::error::Error;
use crate::loadtest::protocol::Protocol;
use crate::loadtest::schedule::Random;
use crate::loadtest::settings::{Endpoint, ModelTensors};

/// Bodies above this are not built; the images left over are said to be unused.
const MAX_BYTES: usize = 512 << 20;

/// Different tensors, where tensors are sent instead of images.
const TENSORS: usize = 8;

/// An encoded image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The file's name without its folder: the key in a golden file.
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// Reads the named files, and the files of the named folders by name.
pub(crate) fn read_images(paths: &[PathBuf]) -> Result<Vec<Image>, Error> {
    let failed = |path: &Path, error: std::io::Error| {
        Error::Usage(format!("--images: {}: {error}", path.display()))
    };
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside = fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
                .map_err(|error| failed(path, error))
                .map(|found: Vec<PathBuf>| found)?;
            inside.retain(|file| file.is_file());
            inside.sort();
            files.append(&mut inside);
        } else {
            files.push(path.clone());
        }
    }
    files
        .into_iter()
        .map(|file| {
            let bytes = fs::read(&file).map_err(|error| failed(&file, error))?;
            let name = file.file_name().unwrap_or(file.as_os_str());
            Ok(Image {
                name: name.to_string_lossy().into_owned(),
                bytes: bytes.into(),
            })
        })
        .collect()
}

/// A request ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) body: Body,
    /// The numbers of its images, in order.
    pub(crate) images: Vec<usize>,
}

/// All requests; they are sent in turn.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) requests: Vec<Request>,
    /// The images' names, by number.
    pub(crate) names: Vec<String>,
    /// Images of `--images` that did not fit.
    pub(crate) unused: usize,
}

impl Workload {
    /// Builds requests of `batch` images each. Every image is in one of them.
    pub(crate) fn build(
        endpoint: &Endpoint,
        tensors: &ModelTensors,
        images: &[Image],
        batch: usize,
    ) -> Result<Self, Error> {
        if batch == 0 {
            return Err(Error::Usage("--batch must be at least 1".to_owned()));
        }
        if endpoint.protocol == Protocol::Raw && batch > 1 {
            return Err(Error::Usage(
                "--protocol raw sends one image per request: leave --batch at 1".to_owned(),
            ));
        }
        let noise;
        let elements = if endpoint.protocol.sends_tensors() {
            noise = noise_images(&tensors.row);
            &noise
        } else {
            images
        };
        if elements.is_empty() {
            return Err(Error::Usage(
                "no images to send: name files or a folder with --images".to_owned(),
            ));
        }
        let mut requests = Vec::new();
        let mut bytes = 0;
        let mut used = 0;
        while used < elements.len() && bytes < MAX_BYTES {
            let images: Vec<_> = (used..used + batch).map(|i| i % elements.len()).collect();
            let chosen: Vec<_> = images.iter().map(|&i| elements[i].bytes.clone()).collect();
            let body = bodies::write(endpoint, tensors, &chosen)?;
            bytes += body.bytes.len();
            used += batch;
            requests.push(Request { body, images });
        }
        Ok(Self {
            requests,
            names: elements.iter().map(|image| image.name.clone()).collect(),
            unused: elements.len().saturating_sub(used),
        })
    }
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
    /// A workload of images.
    pub(crate) fn for_tests(
        protocol: Protocol,
        images: &[Image],
        batch: usize,
    ) -> Result<Self, Error> {
        let endpoint = Endpoint {
            url: String::new(),
            protocol,
            model: "m".to_owned(),
            pid: None,
        };
        let tensors = ModelTensors {
            input: "x".to_owned(),
            row: vec![3],
            outputs: Vec::new(),
        };
        Self::build(&endpoint, &tensors, images, batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: u8) -> Vec<Image> {
        (0..count)
            .map(|i| Image {
                name: format!("{i}.jpg"),
                bytes: vec![i; 10].into(),
            })
            .collect()
    }

    #[test]
    fn every_image_is_sent_and_batches_are_full() {
        let workload = Workload::for_tests(Protocol::V1, &images(5), 2).unwrap();
        let chosen: Vec<_> = workload.requests.iter().map(|r| r.images.clone()).collect();
        assert_eq!(chosen, [[0, 1], [2, 3], [4, 0]]);
    }

    #[test]
    fn tensors_are_noise_and_differ() {
        let workload = Workload::for_tests(Protocol::Triton, &[], 3).unwrap();
        assert_eq!(workload.names.len(), TENSORS);
        assert_eq!(workload.requests.len(), 3);
        let bodies = workload.requests.iter().map(|request| &request.body.bytes);
        let different: std::collections::HashSet<_> = bodies.collect();
        assert_eq!(different.len(), 3);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        assert!(Workload::for_tests(Protocol::V1, &[], 1).is_err());
        assert!(Workload::for_tests(Protocol::V1, &images(1), 0).is_err());
        assert!(Workload::for_tests(Protocol::Raw, &images(1), 2).is_err());
    }
}
