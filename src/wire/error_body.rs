//! The body of an error over REST, in V1 and V2 alike: `{"error": "…"}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters that are quoted of a body which is something else.
const QUOTED_CHARS: usize = 200;

/// Writes the body.
pub fn to_json(error: &str) -> Vec<u8> {
    // A string always is JSON.
    serde_json::to_vec(&Written { error }).unwrap_or_default()
}

/// What every response with an error status holds.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Error")]
pub struct Written<'a> {
    /// What, where, and what to do.
    error: &'a str,
}

/// The text of a body, or the beginning of whatever was sent instead.
pub fn parse(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => body.error,
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            text.trim().chars().take(QUOTED_CHARS).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_comes_back() {
        assert_eq!(to_json("not a \"x\""), br#"{"error":"not a \"x\""}"#);
        assert_eq!(parse(&to_json("not a \"x\"")), "not a \"x\"");
    }

    #[test]
    fn something_else_is_quoted_in_part() {
        assert_eq!(parse(b" bad gateway\n"), "bad gateway");
        assert_eq!(parse(&[b'a'; 1000]).len(), QUOTED_CHARS);
        assert_eq!(parse(b""), "");
    }
}
