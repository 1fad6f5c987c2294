//! Answers to predictions as JSON: the MultiResponse of the common_data_type schema, and the
//! `predictions` of KServe's own form.

use serde::Serialize;

/// The value of `extra_info.source` in every answer.
pub const SOURCE: &str = "face_quality_score";

/// One image's result: its score, finite, or what was wrong with the image.
pub type Row = Result<f32, String>;

/// The answer to a Request or MultiRequest: one entry per image, in order.
///
/// # Errors
///
/// None that JSON of numbers and strings can have.
pub fn multi_response(rows: Vec<Row>) -> serde_json::Result<Vec<u8>> {
    let multi_data = rows.into_iter().map(Response::from).collect();
    serde_json::to_vec(&MultiResponse { multi_data })
}

/// The answer to `instances`: a score, or `{"error": …}` in its place.
///
/// # Errors
///
/// None that JSON of numbers and strings can have.
pub fn predictions(rows: Vec<Row>) -> serde_json::Result<Vec<u8>> {
    let predictions = rows
        .into_iter()
        .map(|row| match row {
            Ok(score) => Prediction::Score(f64::from(score)),
            Err(error) => Prediction::Failed { error },
        })
        .collect();
    serde_json::to_vec(&Predictions { predictions })
}

#[derive(Serialize)]
struct MultiResponse {
    multi_data: Vec<Response>,
}

#[derive(Serialize)]
struct Response {
    /// One score, or none.
    data: Vec<Score>,
    extra_info: ExtraInfo,
}

/// A score as it leaves: FP32 widened to a double.
#[derive(Serialize)]
struct Score {
    score: f64,
}

#[derive(Serialize)]
struct ExtraInfo {
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<Row> for Response {
    fn from(row: Row) -> Self {
        let (data, error) = match row {
            Ok(score) => (
                vec![Score {
                    score: f64::from(score),
                }],
                None,
            ),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self {
            data,
            extra_info: ExtraInfo {
                source: SOURCE,
                error,
            },
        }
    }
}

#[derive(Serialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prediction {
    Score(f64),
    Failed { error: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![Ok(0.931_274_35), Err("not a \"image\"".to_owned()), Ok(1.0)]
    }

    #[test]
    fn a_multi_response_is_compact_and_in_order() {
        assert_eq!(
            String::from_utf8(multi_response(rows()).unwrap()).unwrap(),
            concat!(
                r#"{"multi_data":[{"data":[{"score":0.9312743544578552}],"#,
                r#""extra_info":{"source":"face_quality_score"}},"#,
                r#"{"data":[],"extra_info":{"source":"face_quality_score","error":"not a \"image\""}},"#,
                r#"{"data":[{"score":1.0}],"extra_info":{"source":"face_quality_score"}}]}"#
            )
        );
    }

    #[test]
    fn predictions_hold_scores_and_errors() {
        assert_eq!(
            String::from_utf8(predictions(rows()).unwrap()).unwrap(),
            r#"{"predictions":[0.9312743544578552,{"error":"not a \"image\""},1.0]}"#
        );
    }
}
