//! Responses to predictions as JSON: the MultiResponse of the common_data_type schema, written and
//! read, and the `predictions` of KServe's own form.

use serde::{Deserialize, Serialize};

/// One image's result: its score, finite, or what was wrong with the image.
pub type Row = Result<f32, String>;

/// The response to a Request or MultiRequest: one entry per image, in order. `source` is what made
/// the scores.
///
/// # Errors
///
/// serde_json's, which numbers and strings do not cause.
pub fn multi_response(rows: Vec<Row>, source: &str) -> serde_json::Result<Vec<u8>> {
    let response = |row: Row| {
        let (data, error) = match row {
            Ok(score) => (
                vec![Score {
                    score: f64::from(score),
                }],
                None,
            ),
            Err(error) => (Vec::new(), Some(error)),
        };
        let extra_info = Some(ExtraInfo {
            source: Some(source),
            error,
        });
        Response { data, extra_info }
    };
    let multi_data = rows.into_iter().map(response).collect();
    serde_json::to_vec(&MultiResponse { multi_data })
}

/// Reads a MultiResponse: each image's score, or what was wrong with the image.
///
/// # Errors
///
/// When it is something else.
pub fn parse_multi_response(body: &[u8]) -> Result<Vec<Result<f64, String>>, ResponseError> {
    let response: MultiResponse<'_> = serde_json::from_slice(body)?;
    let entries = response.multi_data.into_iter();
    let row = |entry: Response<'_>| match (
        entry.extra_info.and_then(|extra| extra.error),
        &*entry.data,
    ) {
        (Some(error), _) => Ok(Err(error)),
        (None, [only]) => Ok(Ok(only.score)),
        (None, scores) => Err(ResponseError::ScoreCount(scores.len())),
    };
    entries.map(row).collect()
}

/// Why a body is not the response that was expected.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// Not JSON, or of another form.
    #[error("the body is not a MultiResponse: {0}")]
    Json(#[from] serde_json::Error),
    /// An entry with no score or several, and no error.
    #[error("expected one score for each image, found {0}")]
    ScoreCount(usize),
}

/// The response to `instances`: a score, or `{"error": …}` in its place.
///
/// # Errors
///
/// serde_json's, which numbers and strings do not cause.
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

#[derive(Deserialize, Serialize)]
struct MultiResponse<'a> {
    #[serde(borrow)]
    multi_data: Vec<Response<'a>>,
}

#[derive(Deserialize, Serialize)]
struct Response<'a> {
    /// One score, or none.
    data: Vec<Score>,
    #[serde(borrow)]
    extra_info: Option<ExtraInfo<'a>>,
}

/// A score as it leaves: FP32 widened to a double.
#[derive(Deserialize, Serialize)]
struct Score {
    score: f64,
}

#[derive(Deserialize, Serialize)]
struct ExtraInfo<'a> {
    /// Not of interest to a reader.
    #[serde(skip_deserializing)]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
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
            String::from_utf8(multi_response(rows(), "face_quality_score").unwrap()).unwrap(),
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

    #[test]
    fn a_multi_response_is_read_as_it_was_written() {
        let written = multi_response(rows(), "s").unwrap();
        let read = parse_multi_response(&written).unwrap();
        let expected = rows().into_iter().map(|row| row.map(f64::from));
        assert_eq!(read, expected.collect::<Vec<_>>());
        // As other services write it.
        let read = parse_multi_response(br#"{"multi_data":[{"data":[{"score":0.5}]}]}"#);
        assert_eq!(read.unwrap(), [Ok(0.5)]);
    }

    #[test]
    fn something_else_is_named() {
        let error = |body: &str| {
            parse_multi_response(body.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(error("<html>").starts_with("the body is not a MultiResponse: "));
        let counted = error(r#"{"multi_data":[{"data":[]}]}"#);
        assert_eq!(counted, "expected one score for each image, found 0");
    }
}
