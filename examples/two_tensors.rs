//! Two tensors to one model: the image, and how much of it was there before it was resized.
//!
//! `cargo run --example two_tensors -- --predictor_host triton:8001`

use std::process::ExitCode;

use bytes::BufMut;
use kserve_transformer::pixel::{Normalize, Options, Scratch, decode_owned};
use kserve_transformer::predictor::{Signature, TensorSpec};
use kserve_transformer::transformer::{
    Column, Columns, Cx, Input, Model, Row, RowMut, RowRef, Rows, Transformer,
};
use kserve_transformer::wire::tensor::DataType;
use kserve_transformer::{App, ConfigErrors, Error, Transformers};

struct Sharpness(Model);

#[derive(schemars::JsonSchema, serde::Serialize)]
struct Sharp {
    sharpness: f32,
}

impl Row for Sharp {
    const SOURCE: &'static str = "sharpness";

    fn columns() -> Vec<Column> {
        vec![Column::new("sharpness", DataType::Fp32, &[1])]
    }

    fn write(&self, _: usize, to: &mut Columns) -> Result<(), Error> {
        to.fp32("sharpness", &[self.sharpness])
    }
}

impl Transformer for Sharpness {
    type Row = Sharp;

    fn models(&self) -> Vec<Model> {
        vec![self.0.clone()]
    }

    async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Sharp>, Error> {
        let fill = |bytes: &[u8], row: &mut RowMut, scratch: &mut Scratch| {
            let image = decode_owned(bytes, &Options::DEFAULT, scratch)?;
            row.image(0, image.image(), [64; 2], &Normalize::CENTERED, scratch);
            row.values(1).put_i64_le(image.width() as i64);
            row.values(1).put_i64_le(image.height() as i64);
            Ok(())
        };
        let read = |(), row: RowRef<'_>| {
            Ok(Sharp {
                sharpness: row.number(0)?,
            })
        };
        cx.images(&self.0, input.images()?, fill, read).await
    }
}

fn build(models: &mut Transformers<'_>) -> Result<(), ConfigErrors> {
    let model = models.model(Signature {
        model: "sharpness".to_owned(),
        inputs: vec![
            TensorSpec::image("image", &[3, 64, 64]),
            TensorSpec::new("size", DataType::Int64, &[2]),
        ],
        outputs: vec![TensorSpec::fp32("sharpness", &[1]).or(DataType::Fp16)],
    })?;
    models.serve("sharpness", Sharpness(model))
}

fn main() -> ExitCode {
    App::new("two_tensors", build).main()
}

#[cfg(test)]
mod tests {
    use kserve_transformer::testing::TestService;
    use kserve_transformer::wire::tensor::Tensor;

    #[tokio::test]
    async fn the_size_goes_beside_the_image() -> anyhow::Result<()> {
        // The answer is the width, from the second tensor.
        let service = TestService::new().model("sharpness", |inputs| {
            let [image, size] = <[Tensor; 2]>::try_from(inputs).map_err(|_| missing())?;
            let rows = size.rows();
            assert_eq!(image.shape(), [rows as i64, 3, 64, 64]);
            let size = size.into_data();
            let widths = size.chunks(16).map(|row| f32::from(row[0]).to_le_bytes());
            let widths = widths.collect::<Vec<_>>().concat();
            Ok(vec![Tensor::fp32(widths.into(), rows, &[1])])
        });
        let service = service.start(super::build).await?;
        let face = include_bytes!("../data/images/face.png");
        let (status, response) = service.infer("sharpness", &[face, face]).await?;
        assert_eq!(status, 200, "{response}");
        assert_eq!(response["outputs"][0]["shape"], serde_json::json!([2, 1]));
        assert_eq!(response["outputs"][0]["data"][0], 250.0);
        Ok(())
    }

    fn missing() -> kserve_transformer::predictor::Error {
        kserve_transformer::predictor::Error::InvalidResponse("no two inputs".to_owned())
    }
}
