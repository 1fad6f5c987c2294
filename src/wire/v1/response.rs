//! Responses to predictions as JSON: the MultiResponse of the common_data_type schema, written and
//! read, and the `predictions` of KServe's own form.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One image's result: what its entry in the response holds, or what was wrong with the image.
pub type Row<T> = Result<T, Failed>;

/// Why an image has no result.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Failed {
    /// What was wrong.
    pub error: String,
    /// The HTTP status that the error would have alone: whether it makes sense to try again.
    pub status: u16,
}

/// The response to a Request or MultiRequest: one entry per image, in order, with the list of its
/// results. `source` is what made them.
///
/// # Errors
///
/// serde_json's, which numbers and strings do not cause.
pub fn multi_response<T: Serialize>(
    rows: Vec<Row<T>>,
    source: &str,
) -> serde_json::Result<Vec<u8>> {
    let response = |row: Row<T>| {
        let (data, failed) = match row {
            Ok(results) => (Data::Results(results), None),
            Err(failed) => (Data::None([]), Some(failed)),
        };
        let extra_info = WrittenInfo { source, failed };
        WrittenResponse { data, extra_info }
    };
    let multi_data = rows.into_iter().map(response).collect();
    serde_json::to_vec(&WrittenMultiResponse { multi_data })
}

/// The schema of what [`multi_response`] writes.
pub fn multi_response_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<WrittenMultiResponse<'_, T>>()
}

/// One entry for each image, in order.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MultiResponse_of_{T}")]
struct WrittenMultiResponse<'a, T> {
    multi_data: Vec<WrittenResponse<'a, T>>,
}

/// An image's results; none where it failed.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Response_of_{T}")]
struct WrittenResponse<'a, T> {
    data: Data<T>,
    extra_info: WrittenInfo<'a>,
}

#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(inline)]
enum Data<T> {
    Results(T),
    None([(); 0]),
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ResponseInfo")]
struct WrittenInfo<'a> {
    /// What made the results.
    source: &'a str,
    #[serde(flatten)]
    failed: Option<Failed>,
}

/// Reads a MultiResponse: each image's results, or what was wrong with the image.
///
/// # Errors
///
/// When it is something else.
pub fn parse_results<T: DeserializeOwned>(
    body: &[u8],
) -> Result<Vec<Result<Vec<T>, String>>, ResponseError> {
    let response: MultiResponse<T> = serde_json::from_slice(body)?;
    let row = |entry: Response<T>| match entry.extra_info.and_then(|extra| extra.error) {
        Some(error) => Err(error),
        None => Ok(entry.data),
    };
    Ok(response.multi_data.into_iter().map(row).collect())
}

/// Reads a MultiResponse of one score for each image: that, or what was wrong with the image.
///
/// # Errors
///
/// When it is something else.
pub fn parse_multi_response(body: &[u8]) -> Result<Vec<Result<f64, String>>, ResponseError> {
    let row = |row: Result<Vec<Score>, String>| match row.as_deref() {
        Ok([only]) => Ok(Ok(only.score)),
        Ok(scores) => Err(ResponseError::ScoreCount(scores.len())),
        Err(error) => Ok(Err(error.clone())),
    };
    parse_results(body)?.into_iter().map(row).collect()
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

/// The response to `instances`: an image's result, or `{"error": …, "status": …}` in its place.
///
/// # Errors
///
/// serde_json's, which numbers and strings do not cause.
pub fn predictions<T: Serialize>(rows: Vec<Row<T>>) -> serde_json::Result<Vec<u8>> {
    let predictions = rows
        .into_iter()
        .map(|row| match row {
            Ok(result) => Prediction::Result(result),
            Err(failed) => Prediction::Failed(failed),
        })
        .collect();
    serde_json::to_vec(&Predictions { predictions })
}

/// The schema of what [`predictions`] writes.
pub fn predictions_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Predictions<T>>()
}

/// KServe's form of a response: one result for each instance, in order.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Predictions_of_{T}")]
struct Predictions<T> {
    predictions: Vec<Prediction<T>>,
}

#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(inline)]
enum Prediction<T> {
    Result(T),
    Failed(Failed),
}

#[derive(Deserialize)]
struct MultiResponse<T> {
    multi_data: Vec<Response<T>>,
}

#[derive(Deserialize)]
struct Response<T> {
    /// None where the image failed.
    data: Vec<T>,
    extra_info: Option<ExtraInfo>,
}

#[derive(Deserialize)]
struct Score {
    score: f64,
}

#[derive(Deserialize)]
struct ExtraInfo {
    error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 2] = [0.9312743544578552, 1.0];

    fn rows<T>(result: impl Fn(f64) -> T) -> Vec<Row<T>> {
        let failed = Failed {
            error: "not a \"image\"".to_owned(),
            status: 400,
        };
        vec![Ok(result(SCORES[0])), Err(failed), Ok(result(SCORES[1]))]
    }

    fn list(score: f64) -> serde_json::Value {
        serde_json::json!([{"score": score}])
    }

    #[test]
    fn a_multi_response_is_compact_and_in_order() {
        assert_eq!(
            String::from_utf8(multi_response(rows(list), "face_quality_score").unwrap()).unwrap(),
            concat!(
                r#"{"multi_data":[{"data":[{"score":0.9312743544578552}],"#,
                r#""extra_info":{"source":"face_quality_score"}},"#,
                r#"{"data":[],"extra_info":{"source":"face_quality_score","error":"not a \"image\"","status":400}},"#,
                r#"{"data":[{"score":1.0}],"extra_info":{"source":"face_quality_score"}}]}"#
            )
        );
    }

    #[test]
    fn predictions_hold_scores_and_errors() {
        assert_eq!(
            String::from_utf8(predictions(rows(|score| score)).unwrap()).unwrap(),
            r#"{"predictions":[0.9312743544578552,{"error":"not a \"image\"","status":400},1.0]}"#
        );
    }

    #[test]
    fn a_multi_response_is_read_as_it_was_written() {
        let written = multi_response(rows(list), "s").unwrap();
        let read = parse_multi_response(&written).unwrap();
        let failed = Err("not a \"image\"".to_owned());
        assert_eq!(read, [Ok(SCORES[0]), failed, Ok(SCORES[1])]);
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
