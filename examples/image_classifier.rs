//! A classifier of one model: an image in, its most likely class out.
//!
//! `cargo run --example image_classifier -- --predictor_host triton:8001`

use std::process::ExitCode;

use kserve_transformer::pixel::{Normalize, Options, Scratch};
use kserve_transformer::predictor::{Signature, TensorSpec};
use kserve_transformer::transformer::{Cx, Input, Model, Row, RowMut, RowRef, Rows, Transformer};
use kserve_transformer::{App, ConfigErrors, Error, Transformers};

struct Classifier(Model);

#[derive(schemars::JsonSchema, serde::Serialize)]
struct Class {
    class: usize,
    score: f32,
}

impl Row for Class {
    const SOURCE: &'static str = "resnet50";
}

impl Transformer for Classifier {
    type Row = Class;

    fn models(&self) -> Vec<Model> {
        vec![self.0.clone()]
    }

    async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Class>, Error> {
        let normalize = Normalize::same(127.5, 1.0 / 127.5);
        let fill = move |image: &[u8], row: &mut RowMut, scratch: &mut Scratch| {
            row.encoded_image(0, image, [224; 2], &Options::DEFAULT, &normalize, scratch)
        };
        let read = |(), row: RowRef<'_>| {
            let scores = row.values(0)?.into_iter().enumerate();
            let best = scores.max_by(|a, b| a.1.total_cmp(&b.1));
            let (class, score) = best.unwrap_or_default();
            Ok(Class { class, score })
        };
        cx.images(&self.0, input.images()?, fill, read).await
    }
}

fn build(models: &mut Transformers<'_>) -> Result<(), ConfigErrors> {
    let model = models.model(Signature {
        model: "resnet50".to_owned(),
        inputs: vec![TensorSpec::image("input", &[3, 224, 224])],
        outputs: vec![TensorSpec::fp32("output", &[1000])],
    })?;
    models.serve("classifier", Classifier(model))
}

fn main() -> ExitCode {
    App::new("image_classifier", build).main()
}

#[cfg(test)]
mod tests {
    use kserve_transformer::testing::TestService;
    use kserve_transformer::wire::tensor::Tensor;
    use serde_json::json;

    #[tokio::test]
    async fn the_most_likely_class_is_named() -> anyhow::Result<()> {
        // The score of class 7 is the image's first value.
        let service = TestService::new().model("resnet50", |inputs| {
            let input = inputs.into_iter().next().ok_or_else(none)?;
            let rows = input.rows();
            let data = input.into_data();
            let of_row = |row: &[u8]| {
                let mut scores = vec![0; 4000];
                scores[28..32].copy_from_slice(&row[..4]);
                scores
            };
            let scores: Vec<u8> = data.chunks(data.len() / rows).flat_map(of_row).collect();
            Ok(vec![Tensor::fp32(scores.into(), rows, &[1000])])
        });
        let service = service.start(super::build).await?;
        let white = b"P6 1 1 255 \xff\xff\xff";
        let (status, response) = service.predict("classifier", &[white]).await?;
        assert_eq!(status, 400, "PNM needs --formats: {response}");
        let face = include_bytes!("../data/images/face.png");
        let (status, response) = service.predict("classifier", &[face, face]).await?;
        assert_eq!(status, 200, "{response}");
        let entries = response["multi_data"].as_array().map(Vec::len);
        assert_eq!(entries, Some(2));
        assert_eq!(response["multi_data"][0]["data"][0]["class"], json!(7));
        let (status, response) = service.infer("classifier", &[face]).await?;
        assert_eq!(status, 200, "{response}");
        assert_eq!(response["outputs"][0]["name"], "result");
        let (_, document) = service.get("/openapi.json").await?;
        let properties = &document["components"]["schemas"]["Class"]["properties"];
        assert_eq!(properties["class"]["type"], "integer", "{document}");
        Ok(())
    }

    fn none() -> kserve_transformer::predictor::Error {
        kserve_transformer::predictor::Error::InvalidResponse("no input".to_owned())
    }
}
