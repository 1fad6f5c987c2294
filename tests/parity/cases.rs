//! Small files of classes that foreign images were found in, each with what is wanted of it: take a
//! file whose pixels are all there, however untidy it is; refuse one whose pixels are missing or
//! guessed; never other pixels than OpenCV's.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::BytesMut;
use kserve_transformer::pixel::{self, Scratch};
use serde::Deserialize;

use super::OPTIONS;
use super::golden::sha256;

#[derive(Deserialize)]
struct Case {
    what: String,
    want: Want,
    /// OpenCV's tensor of 3 × 112 × 112 values.
    tensor_sha256: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Want {
    /// OpenCV's tensor.
    Equal,
    /// An error.
    Refuse,
    /// One or the other.
    Either,
}

#[test]
fn every_case_is_as_wanted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases");
    let cases = std::fs::read(folder.join("cases.json")).unwrap();
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() >= 94);
    let mut scratch = Scratch::default();
    let mut faults = Vec::new();
    for (name, case) in &cases {
        let file = std::fs::read(folder.join(name)).unwrap();
        let mut planes: [BytesMut; 3] = Default::default();
        let made = pixel::to_planes(&file, [112; 2], &OPTIONS, &mut scratch, &mut planes);
        let fault = match made {
            Ok(()) if case.want == Want::Refuse => "it is taken".to_owned(),
            Ok(()) if case.tensor_sha256.as_deref() != Some(&sha256(&planes.concat())) => {
                "it has other pixels than OpenCV's".to_owned()
            }
            Err(error) if case.want == Want::Equal => error.to_string(),
            _ => continue,
        };
        faults.push(format!("{name} ({}): {fault}", case.what));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
