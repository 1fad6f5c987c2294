//! Whether the scores are right: those of a golden file, or the first that came for each image.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::loadtest::Error;
use crate::loadtest::answer;
use crate::loadtest::failure::{Failure, Fault};
use crate::loadtest::target::Reply;
use crate::loadtest::workload::{Plan, Protocol};

/// Stands for "not yet known"; no score is this NaN.
const UNKNOWN: u64 = u64::MAX;

/// What every answer is compared with.
#[derive(Debug)]
pub(super) struct Check {
    protocol: Protocol,
    tolerance: f64,
    /// The bits of each image's score.
    expected: Vec<AtomicU64>,
    /// An answer of each request that was found right: the same bytes need no second look.
    right: Vec<OnceLock<Bytes>>,
}

impl Check {
    /// Nothing is expected yet.
    pub(super) fn new(protocol: Protocol, plan: &Plan, tolerance: f64) -> Self {
        Self {
            protocol,
            tolerance,
            expected: plan.names.iter().map(|_| AtomicU64::new(UNKNOWN)).collect(),
            right: plan.requests.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// Expects the scores of a file: a JSON object of scores by file name. Returns how many of the
    /// images it names.
    pub(super) fn read_golden(&self, path: &Path, names: &[String]) -> Result<usize, Error> {
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
            return Err(failed("none of the images is in it".to_owned()));
        }
        Ok(found)
    }

    /// The scores known by now, by image.
    pub(super) fn scores(&self) -> Vec<Option<f64>> {
        let known = |bits: &AtomicU64| match bits.load(Ordering::Relaxed) {
            UNKNOWN => None,
            bits => Some(f64::from_bits(bits)),
        };
        self.expected.iter().map(known).collect()
    }

    /// Judges the answer to a request of the plan.
    pub(super) fn judge(&self, plan: &Plan, number: usize, reply: &Reply) -> Result<(), Failure> {
        let right = &self.right[number];
        if right.get() == Some(&reply.body) {
            return Ok(());
        }
        let images = &plan.requests[number].images;
        let scores = answer::scores(self.protocol, reply)?;
        if scores.len() != images.len() {
            let text = format!("{} scores for {} images", scores.len(), images.len());
            return Err(Failure::new(Fault::Malformed, text));
        }
        for (&image, score) in images.iter().zip(scores) {
            self.judge_score(&plan.names[image], image, score)?;
        }
        let _ = right.set(reply.body.clone());
        Ok(())
    }

    fn judge_score(&self, name: &str, image: usize, score: f64) -> Result<(), Failure> {
        if !score.is_finite() {
            let text = format!("{name}: the score is {score}");
            return Err(Failure::new(Fault::WrongScore, text));
        }
        let first = self.expected[image].compare_exchange(
            UNKNOWN,
            score.to_bits(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        match first.map_err(f64::from_bits) {
            Err(expected) if (score - expected).abs() > self.tolerance => Err(Failure::new(
                Fault::WrongScore,
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
    use crate::loadtest::workload::Image;

    fn plan(names: [&str; 2]) -> Plan {
        let images = names.map(|name| Image {
            name: name.to_owned(),
            bytes: Bytes::from_static(b"image"),
        });
        Plan::build(Protocol::V1, "m", &images, 2).unwrap()
    }

    fn reply(scores: [f64; 2]) -> Reply {
        let entries = scores.map(|score| serde_json::json!({"data": [{"score": score}]}));
        Reply {
            body: serde_json::json!({"multi_data": entries})
                .to_string()
                .into(),
            headers: http::HeaderMap::new(),
        }
    }

    #[test]
    fn the_first_score_of_an_image_binds_the_others() {
        let plan = plan(["a", "b"]);
        let check = Check::new(Protocol::V1, &plan, 1e-4);
        assert!(check.judge(&plan, 0, &reply([0.5, 0.7])).is_ok());
        assert!(check.judge(&plan, 0, &reply([0.5, 0.7])).is_ok());
        assert!(check.judge(&plan, 0, &reply([0.500_01, 0.7])).is_ok());
        let failure = check.judge(&plan, 0, &reply([0.7, 0.5])).unwrap_err();
        assert_eq!(failure.fault, Fault::WrongScore);
        assert_eq!(check.scores(), [Some(0.5), Some(0.7)]);
    }

    #[test]
    fn golden_scores_bind_the_first_answer_too() {
        let plan = plan(["a", "b"]);
        let check = Check::new(Protocol::V1, &plan, 1e-4);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"b": 0.9, "elsewhere": 0.1}"#).unwrap();
        assert_eq!(check.read_golden(file.path(), &plan.names).unwrap(), 1);
        let failure = check.judge(&plan, 0, &reply([0.5, 0.7])).unwrap_err();
        assert_eq!(failure.fault, Fault::WrongScore);
        assert!(failure.text.starts_with("b: 0.7"), "{}", failure.text);
    }

    #[test]
    fn an_answer_with_too_few_scores_is_malformed() {
        let plan = plan(["a", "b"]);
        let check = Check::new(Protocol::V1, &plan, 1e-4);
        let one = Reply {
            body: Bytes::from_static(br#"{"multi_data":[{"data":[{"score":0.5}]}]}"#),
            headers: http::HeaderMap::new(),
        };
        assert_eq!(
            check.judge(&plan, 0, &one).unwrap_err().fault,
            Fault::Malformed
        );
    }
}
