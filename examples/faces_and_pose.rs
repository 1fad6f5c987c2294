//! Two models side by side on the faces of a photo: detection → crop → (quality ‖ pose).

use std::process::ExitCode;

use kserve_transformer::faces::{self, Crop, Detection, Detector, FaceQuality};
use kserve_transformer::pixel::{Normalize, Options, Scratch};
use kserve_transformer::predictor::{EmbeddedModel, Signature, TensorSpec};
use kserve_transformer::transformer::{Cx, Input, Model, Row, RowMut, Rows, Transformer, nest};
use kserve_transformer::{App, ConfigErrors, Error, Transformers};

struct FacesAndPose {
    detector: Detector,
    quality: Model,
    pose: Model,
}

#[derive(schemars::JsonSchema, serde::Serialize)]
struct Face {
    r#box: [f32; 4],
    score: f32,
    pose: Vec<f32>,
}

#[derive(schemars::JsonSchema, serde::Serialize)]
#[serde(transparent)]
struct Faces(Vec<Face>);

impl Row for Faces {
    const SOURCE: &'static str = "faces_and_pose";

    fn data(&self) -> impl serde::Serialize + schemars::JsonSchema + '_ {
        self
    }
}

/// The square around the face, of this many pixels a side.
fn fill(side: usize) -> impl Fn(Crop, &mut RowMut, &mut Scratch) -> Result<Detection, Error> {
    move |crop, row, scratch| {
        let square = crop.square(1.0)?;
        row.image(0, square, [side; 2], &Normalize::CENTERED, scratch);
        Ok(crop.detection)
    }
}

impl Transformer for FacesAndPose {
    type Row = Faces;

    fn models(&self) -> Vec<Model> {
        [&self.detector.model, &self.quality, &self.pose]
            .map(Model::clone)
            .to_vec()
    }

    async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Faces>, Error> {
        let (crops, nest) = nest(self.detector.detect(input.images()?, cx).await?);
        let (scores, poses) = tokio::try_join!(
            cx.values(
                &self.quality,
                crops.clone(),
                fill(faces::SIDE),
                |face, row| { Ok((face.rect, row.number(0)?)) }
            ),
            cx.values(&self.pose, crops, fill(224), |_, row| row.values(0)),
        )?;
        let face = |(score, pose): (Result<_, Error>, Result<_, Error>)| {
            let ((r#box, score), pose) = (score?, pose?);
            Ok(Face { r#box, score, pose })
        };
        let photos = nest.fold(scores.into_iter().zip(poses).map(face).collect());
        Ok(photos.into_iter().map(|faces| faces.map(Faces)).collect())
    }
}

fn build(models: &mut Transformers<'_>) -> Result<(), ConfigErrors> {
    let [model, input, output] = ["face_quality", "input.1", "1346"].map(str::to_owned);
    let detector = Detector::signature(faces::DETECTOR_MODEL.to_owned());
    let transformer = FacesAndPose {
        detector: Detector {
            model: models
                .model_or_embedded(detector, EmbeddedModel::Bytes(faces::DETECTOR_ONNX))?,
            pixel: Options::DEFAULT,
            side: 640,
            threshold: 0.5,
        },
        quality: models.model(FaceQuality::signature(model, input, output))?,
        pose: models.model(Signature {
            model: "pose".to_owned(),
            inputs: vec![TensorSpec::image("input", &[3, 224, 224])],
            outputs: vec![TensorSpec::fp32("yaw_pitch_roll", &[3])],
        })?,
    };
    models.serve("faces", transformer)
}

fn main() -> ExitCode {
    App::new("faces_and_pose", build).main()
}

#[cfg(test)]
mod tests {
    use kserve_transformer::testing::TestService;
    use kserve_transformer::wire::tensor::Tensor;

    /// So many values of each row.
    fn constant(
        values: &'static [f32],
    ) -> impl Fn(Vec<Tensor>) -> Result<Vec<Tensor>, kserve_transformer::predictor::Error> {
        move |inputs| {
            let rows = inputs[0].rows();
            let row: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let shape = [values.len() as i64];
            Ok(vec![Tensor::fp32(row.repeat(rows).into(), rows, &shape)])
        }
    }

    #[tokio::test]
    async fn each_face_has_a_score_and_a_pose() -> anyhow::Result<()> {
        let service = TestService::new()
            .flag("--model_host=centerface=embedded")
            .model("face_quality", constant(&[0.5]))
            .model("pose", constant(&[1.0, 2.0, 3.0]));
        let service = service.start(super::build).await?;
        let photo = include_bytes!("../data/images/astronaut.jpg");
        let (status, response) = service.predict("faces", &[photo]).await?;
        assert_eq!(status, 200, "{response}");
        let faces = &response["multi_data"][0]["data"];
        assert_eq!(faces.as_array().map(Vec::len), Some(1), "{response}");
        assert_eq!(faces[0]["score"], 0.5);
        assert_eq!(faces[0]["pose"], serde_json::json!([1.0, 2.0, 3.0]));
        Ok(())
    }
}
