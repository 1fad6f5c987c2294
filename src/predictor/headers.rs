//! `--predictor_header`: headers that go with every call to the predictor, such as the token that it
//! wants. Those of the caller (`--forward_headers`) go with inferences only.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::reload::Reloaded;

/// One header as the operator gives it.
#[derive(Clone)]
pub struct PredictorHeader {
    name: HeaderName,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Value(HeaderValue),
    /// Read again when it changes: Kubernetes rotates its tokens.
    File(PathBuf),
}

impl PredictorHeader {
    /// Reads `NAME=VALUE` or `NAME=@FILE`.
    ///
    /// # Errors
    ///
    /// What is wrong. The text does not quote the value, which may be a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected NAME=VALUE or NAME=@FILE";
        let (name, value) = text.split_once('=').ok_or(expected)?;
        let name = HeaderName::try_from(name.trim())
            .map_err(|_| format!("invalid header name {:?}; {expected}", name.trim()))?;
        let source = match value.strip_prefix('@') {
            Some("") => return Err(format!("{name}: the file is missing; {expected}")),
            Some(file) => Source::File(file.into()),
            None => Source::Value(secret(value).map_err(|error| format!("{name}: {error}"))?),
        };
        Ok(Self { name, source })
    }

    fn value(&self) -> Result<HeaderValue, String> {
        match &self.source {
            Source::Value(value) => Ok(value.clone()),
            Source::File(file) => {
                let invalid = |error: &dyn fmt::Display| {
                    format!(
                        "--predictor_header {}: {}: {error}",
                        self.name,
                        file.display()
                    )
                };
                let text = fs::read_to_string(file).map_err(|error| invalid(&error))?;
                secret(text.trim()).map_err(|error| invalid(&error))
            }
        }
    }

    fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::Value(_) => None,
            Source::File(file) => Some(file),
        }
    }
}

/// The name and where the value is from, but not the value.
impl fmt::Display for PredictorHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Value(_) => write!(f, "{}=…", self.name),
            Source::File(file) => write!(f, "{}=@{}", self.name, file.display()),
        }
    }
}

impl fmt::Debug for PredictorHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| "the value has characters that a header cannot have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The headers with their values as they are now. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct PredictorHeaders(Arc<Reloaded<Arc<HeaderMap>>>);

impl PredictorHeaders {
    /// Reads the files for the first time.
    pub(super) fn load(headers: &[PredictorHeader]) -> Result<Self, String> {
        let files = headers.iter().filter_map(PredictorHeader::file);
        let files = files.map(Path::to_path_buf).collect();
        let headers = headers.to_vec();
        let reloaded = Reloaded::new(files, move || {
            let mut map = HeaderMap::new();
            for header in &headers {
                map.append(&header.name, header.value()?);
            }
            Ok(Arc::new(map))
        })?;
        Ok(Self(Arc::new(reloaded)))
    }

    /// Sets the headers, in place of those that a caller sent by these names.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        let own = self.0.get();
        for name in own.keys() {
            headers.remove(name);
        }
        for (name, value) in own.iter() {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_the_flag_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "Bearer abc\n").unwrap();
        let parse = |text: &str| PredictorHeader::parse(text).unwrap();
        let from_file = parse(&format!("authorization=@{}", file.display()));
        let headers = PredictorHeaders::load(&[parse("x-a=1=2"), parse("x-a=3"), from_file]);
        let mut map = HeaderMap::new();
        map.insert("authorization", HeaderValue::from_static("the caller's"));
        headers.unwrap().apply(&mut map);
        assert_eq!(map["authorization"], "Bearer abc");
        let both: Vec<_> = map.get_all("x-a").iter().collect();
        assert_eq!(both, ["1=2", "3"]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let header = PredictorHeader::parse("authorization=Bearer secret").unwrap();
        assert_eq!(header.to_string(), "authorization=…");
        assert!(!format!("{header:?}").contains("secret"));
        for text in ["secret", "a b=secret", "a=secret\n", "a=@"] {
            let error = PredictorHeader::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        let missing = PredictorHeader::parse("a=@/missing/token").unwrap();
        let error = PredictorHeaders::load(&[missing]).unwrap_err();
        assert!(
            error.contains("--predictor_header a: /missing/token"),
            "{error}"
        );
    }
}
