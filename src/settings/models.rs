//! Where the models are, and the one that takes whole photos.

use crate::faces::{self, PhotoOptions};
use crate::predictor::Target;
use crate::quote::quote;
use crate::settings::{ModelHost, PhotoSettings, PredictorSettings, ServeArgs};

/// Of a photo as the face detector sees it: more pixels would take a minute of a core.
const MAX_DETECT_SIDE: usize = 4096;

/// Where models are that are not on `--predictor_host`.
pub(super) fn hosts(args: &ServeArgs, problems: &mut Vec<String>) -> Vec<ModelHost> {
    let mut hosts: Vec<ModelHost> = Vec::new();
    for text in &args.model_host {
        let Some((model, address)) = text.split_once('=') else {
            problems.push(format!(
                "--model_host: expected MODEL=ADDRESS or MODEL=embedded, not {}",
                quote(text)
            ));
            continue;
        };
        let targets = match address {
            "embedded" if cfg!(feature = "embedded") => Ok(Vec::new()),
            "embedded" => Err("this build has no embedded models".to_owned()),
            address => Target::parse_list(address, args.predictor_use_ssl),
        };
        match targets {
            Ok(targets) => hosts.push(ModelHost {
                model: model.to_owned(),
                targets,
            }),
            Err(problem) => problems.push(format!("--model_host {}: {problem}", quote(model))),
        }
    }
    hosts
}

/// The model that takes whole photos.
pub(super) fn photo(
    args: &ServeArgs,
    predictor: &PredictorSettings,
    problems: &mut Vec<String>,
) -> PhotoSettings {
    if !(0.0..=1.0).contains(&args.detect_threshold) {
        problems.push("--detect_threshold must be from 0 to 1".to_owned());
    }
    if !(0.1..=10.0).contains(&args.face_margin) {
        problems.push("--face_margin must be from 0.1 to 10".to_owned());
    }
    if args.detect_side > MAX_DETECT_SIDE {
        problems.push(format!("--detect_side must be at most {MAX_DETECT_SIDE}"));
    }
    let hosts = &predictor.model_hosts;
    let named = hosts.iter().any(|host| host.model == args.detector_model);
    let enabled = args
        .enable_facephoto
        .unwrap_or(named || predictor.targets.is_empty());
    if enabled && args.model_name == faces::PHOTO_MODEL_NAME {
        problems.push(format!(
            "--model_name {:?} is the name of the model for whole photos; --enable_facephoto false \
             frees it",
            args.model_name
        ));
    }
    PhotoSettings {
        enabled,
        detector: args.detector_model.clone(),
        options: PhotoOptions {
            detect_side: args.detect_side,
            detect_threshold: args.detect_threshold,
            face_margin: args.face_margin,
            face_crop: args.face_crop,
        },
    }
}
