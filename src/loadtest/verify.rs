//! Whether the scores are the expected ones: those of a golden file, or the first that came for each
//! image.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;

use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::protocol::Protocol;
use crate::loadtest::scores;
use crate::loadtest::target::Response;
use crate::loadtest::workload::Workload;

/// Stands for "not yet known"; no score is this NaN.
const UNKNOWN: u64 = u64::MAX;

/// A score by the name of its file.
#[derive(Clone, Debug, Serialize)]
pub struct ImageScore {
    /// The file's name without its folder.
    pub name: String,
    /// The first score that came.
    pub score: f64,
}

/// What every response is compared with.
#[derive(Debug)]
pub(crate) struct Verifier {
    protocol: Protocol,
    /// Names of the output that holds the scores.
    outputs: Vec<String>,
    tolerance: f64,
    /// The bits of each image's score.
    expected: Vec<AtomicU64>,
    /// A response to each request that was verified: the same bytes need no second look.
    verified: Vec<OnceLock<Bytes>>,
}

impl Verifier {
    /// Takes the first score of each image as the expected one.
    pub(crate) fn new(
        protocol: Protocol,
        outputs: &[String],
        workload: &Workload,
        tolerance: f64,
    ) -> Self {
        Self {
            protocol,
            outputs: outputs.to_vec(),
            tolerance,
            expected: workload
                .names
                .iter()
                .map(|_| AtomicU64::new(UNKNOWN))
                .collect(),
            verified: workload.requests.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// Expects the scores of a file: a JSON object of scores by file name. Returns how many of the
    /// images it names.
    pub(crate) fn read_golden(&self, path: &Path, names: &[String]) -> Result<usize, Error> {
        let failed = |why: String| Error::Usage(format!("--golden {}: {why}", path.display()));
        let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let golden: BTreeMap<String, f64> =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let mut found = 0;
        for (name, expected) in names.iter().zip(&self.expected) {
            if let Some(score) = golden.get(name) {
                expected.store(score.to_bits(), Ordering::Relaxed);
                found += 1;
            }
        }
        if found == 0 {
            return Err(failed("it has none of the images".to_owned()));
        }
        Ok(found)
    }

    /// The scores known by now, by image.
    pub(crate) fn scores(&self) -> Vec<Option<f64>> {
        let known = |bits: &AtomicU64| match bits.load(Ordering::Relaxed) {
            UNKNOWN => None,
            bits => Some(f64::from_bits(bits)),
        };
        self.expected.iter().map(known).collect()
    }

    /// The scores known by now, with the images' names.
    pub(crate) fn image_scores(&self, names: &[String]) -> Vec<ImageScore> {
        let score = |(name, score): (&String, Option<f64>)| {
            let name = name.clone();
            score.map(|score| ImageScore { name, score })
        };
        names.iter().zip(self.scores()).filter_map(score).collect()
    }

    /// Verifies the response to a request of the workload.
    pub(crate) fn verify(
        &self,
        workload: &Workload,
        number: usize,
        response: &Response,
    ) -> Result<(), Failure> {
        let verified = &self.verified[number];
        if verified.get() == Some(&response.body) {
            return Ok(());
        }
        let images = &workload.requests[number].images;
        let scores = scores::read(self.protocol, &self.outputs, response)?;
        if scores.len() != images.len() {
            let text = format!("{} scores for {} images", scores.len(), images.len());
            return Err(Failure::new(FailureKind::Malformed, text));
        }
        for (&image, score) in images.iter().zip(scores) {
            self.verify_score(&workload.names[image], image, score)?;
        }
        let _ = verified.set(response.body.clone());
        Ok(())
    }

    fn verify_score(&self, name: &str, image: usize, score: f64) -> Result<(), Failure> {
        if !score.is_finite() {
            let text = format!("{name}: the score is {score}");
            return Err(Failure::new(FailureKind::WrongScore, text));
        }
        let first = self.expected[image].compare_exchange(
            UNKNOWN,
            score.to_bits(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        match first.map_err(f64::from_bits) {
            Err(expected) if (score - expected).abs() > self.tolerance => Err(Failure::new(
                FailureKind::WrongScore,
                format!(
                    "{name}: {score} instead of {expected} (--tolerance {})",
                    self.tolerance
                ),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(workload: &Workload) -> Verifier {
        Verifier::new(Protocol::V1, &[], workload, 1e-4)
    }

    fn response(scores: &[f64]) -> Response {
        let entries: Vec<_> = scores
            .iter()
            .map(|score| serde_json::json!({"data": [{"score": score}]}))
            .collect();
        Response {
            body: serde_json::json!({"multi_data": entries})
                .to_string()
                .into(),
            headers: http::HeaderMap::new(),
        }
    }

    #[test]
    fn the_first_score_of_an_image_binds_the_others() {
        let workload = Workload::for_tests(&["a", "b"], 2);
        let verifier = verifier(&workload);
        let verify = |scores: &[f64]| verifier.verify(&workload, 0, &response(scores));
        assert!(verify(&[0.5, 0.7]).is_ok());
        assert!(verify(&[0.5, 0.7]).is_ok());
        assert!(verify(&[0.500_01, 0.7]).is_ok());
        let failure = verify(&[0.7, 0.5]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongScore);
        assert_eq!(verifier.scores(), [Some(0.5), Some(0.7)]);
    }

    #[test]
    fn golden_scores_bind_the_first_response_too() {
        let workload = Workload::for_tests(&["a", "b"], 2);
        let verifier = verifier(&workload);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"b": 0.9, "elsewhere": 0.1}"#).unwrap();
        assert_eq!(
            verifier.read_golden(file.path(), &workload.names).unwrap(),
            1
        );
        let failure = verifier
            .verify(&workload, 0, &response(&[0.5, 0.7]))
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongScore);
        assert!(failure.text.starts_with("b: 0.7"), "{}", failure.text);
    }

    #[test]
    fn a_response_with_too_few_scores_is_malformed() {
        let workload = Workload::for_tests(&["a", "b"], 2);
        let verified = verifier(&workload).verify(&workload, 0, &response(&[0.5]));
        assert_eq!(verified.unwrap_err().kind, FailureKind::Malformed);
    }
}
