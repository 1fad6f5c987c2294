//! Stages in a request, on a predictor that answers zeros.

use std::sync::Mutex;
use std::time::Duration;

use bytes::{BufMut, Bytes};

use super::*;
use crate::admission::ByteBudget;
use crate::context::RequestContext;
use crate::error::Kind;
use crate::item::{self, Fetcher};
use crate::observe::metrics::Metrics;
use crate::observe::timing::Deadline;
use crate::predictor::{LocalSettings, TensorSpec};
use crate::wire::tensor::{DataType, Tensor, fp32};

/// What a stage needs, with one pixel thread.
fn resources() -> Resources {
    // The process does it in main; a second time is an error that means nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Metrics::default();
    Resources {
        pixels: Arc::new(PixelThreads::start("pixels", 1, 1000, WorkerScratch::default).unwrap()),
        fetcher: Arc::new(Fetcher::new(item::Settings::default(), Arc::default()).unwrap()),
        pixel_budget: PixelBudget::new(u64::MAX, u64::MAX, u64::MAX, 1, &metrics),
        bytes: ByteBudget::unlimited(&metrics),
    }
}

fn model(inputs: Vec<TensorSpec>) -> Model {
    let signature = Signature {
        model: "m".to_owned(),
        inputs,
        outputs: vec![TensorSpec::fp32("y", &[1])],
    };
    let settings = LocalSettings {
        concurrency: 100,
        max_batch: 32,
    };
    let metrics = Metrics::default();
    Model::new(Arc::new(Predictor::null(settings, signature, &metrics)))
}

fn images(bytes: &[u8]) -> Vec<Image> {
    let images = bytes.chunks(1);
    images
        .map(|byte| Image::Encoded(Bytes::copy_from_slice(byte)))
        .collect()
}

fn context() -> RequestContext {
    RequestContext::new(String::new(), Deadline::after(Duration::from_secs(60)))
}

/// Notes the first byte of each image that it is given; those of 0 fail, those of 255 panic.
#[derive(Default)]
struct Noting {
    begun: Arc<Mutex<Vec<u8>>>,
}

impl Noting {
    async fn run(
        &self,
        bytes: &[u8],
        resources: &Resources,
        image_errors: ImageErrors,
    ) -> Result<Rows<f32>, Error> {
        let context = context();
        let cx = Cx::new(resources, &context, image_errors);
        let begun = Arc::clone(&self.begun);
        cx.images(
            &model(vec![TensorSpec::fp32("x", &[3])]),
            images(bytes),
            move |image, row, _| {
                begun.lock().unwrap().push(image[0]);
                // So that a request is not done before another can come.
                std::thread::sleep(Duration::from_millis(1));
                match image[0] {
                    0 => return Err(Error::new(Kind::Invalid, "not an image")),
                    255 => panic!("on purpose"),
                    _ => row.values(0).put_bytes(0, 12),
                }
                Ok(())
            },
            |(), row| row.number(0),
        )
        .await
    }
}

#[tokio::test]
async fn a_short_request_does_not_stand_behind_a_long_one() {
    let (noting, resources) = (Noting::default(), resources());
    let long = noting.run(&[1; 100], &resources, ImageErrors::Fail);
    let short = async {
        while noting.begun.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        noting.run(&[2], &resources, ImageErrors::Fail).await
    };
    let (long, short) = tokio::join!(long, short);
    assert_eq!((long.unwrap().len(), short.unwrap().len()), (100, 1));
    let begun = noting.begun.lock().unwrap();
    let place = begun.iter().position(|&byte| byte == 2).unwrap();
    assert!(place < 10, "behind {place} images of the long request");
}

#[tokio::test]
async fn the_first_image_that_fails_ends_the_work() {
    let (noting, resources) = (Noting::default(), resources());
    let mut bytes = [1; 100];
    (bytes[3], bytes[5]) = (0, 0);
    let failed = noting.run(&bytes, &resources, ImageErrors::Fail).await;
    assert_eq!(failed.unwrap_err().image, Some(3));
    let begun = noting.begun.lock().unwrap().len();
    assert!(begun < 20, "{begun} images were begun");
}

#[tokio::test]
async fn an_image_fails_alone_even_by_a_panic() {
    let (noting, resources) = (Noting::default(), resources());
    let rows = noting.run(&[2, 0, 255, 2], &resources, ImageErrors::Report);
    let rows = rows.await.unwrap();
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| row.as_ref().err().map(|error| error.kind))
        .collect();
    let (invalid, internal) = (Some(Kind::Invalid), Some(Kind::Internal));
    assert_eq!(kinds, [None, invalid, internal, None]);
}

#[tokio::test]
async fn inputs_of_several_datatypes_and_shapes_of_their_own() {
    let (resources, context) = (resources(), context());
    let cx = Cx::new(&resources, &context, ImageErrors::Fail);
    let inputs = vec![
        TensorSpec::new("pixels", DataType::Uint8, &[3, -1]),
        TensorSpec::new("name", DataType::Bytes, &[1]),
        TensorSpec::new("scale", DataType::Int64, &[]),
    ];
    let model = model(inputs);
    let rows = cx.values(
        &model,
        vec![2_usize, 5, 0],
        |width, row, _| {
            assert_eq!(row.datatype(0), DataType::Uint8);
            row.set_shape(0, &[3, width as i64]);
            row.parts(0, |planes: &mut [_; 3]| {
                planes
                    .iter_mut()
                    .for_each(|plane| plane.put_bytes(1, width));
            });
            row.values(1).put_slice(b"\x01\0\0\0a");
            // One of them leaves a row too short.
            row.values(2).put_bytes(0, if width == 5 { 7 } else { 8 });
            Ok(width)
        },
        |width, row| {
            assert_eq!(row.shape(0)?, [1]);
            Ok((width, row.values(0)?))
        },
    );
    let rows = rows.await.unwrap();
    assert_eq!(*rows[0].as_ref().unwrap(), (2, vec![0.0]));
    let short = rows[1].as_ref().unwrap_err();
    assert!(short.text.contains("input 2 has 7 bytes"), "{short}");
    assert!(rows[2].is_ok());
}

#[tokio::test]
async fn ready_made_tensors_are_split_and_read_in_order() {
    let (resources, context) = (resources(), context());
    let cx = Cx::new(&resources, &context, ImageErrors::Fail);
    let model = model(vec![TensorSpec::fp32("x", &[2])]);
    let tensor = Tensor::fp32(Bytes::from(vec![0; 70 * 8]), 70, &[2]);
    let rows = cx.tensors(&model, vec![tensor], |row| row.number(0));
    let rows = rows.await.unwrap();
    assert_eq!(rows.len(), 70);
    assert!(rows.iter().all(|row| *row.as_ref().unwrap() == 0.0));
}

/// A row of JSON, and one of as many lines as its number says.
#[derive(schemars::JsonSchema, serde::Serialize)]
struct Plain(i32);

impl Row for Plain {
    const SOURCE: &'static str = "plain";
}

#[derive(schemars::JsonSchema, serde::Serialize)]
struct Ragged(i32);

impl Row for Ragged {
    const SOURCE: &'static str = "ragged";

    fn columns() -> Vec<Column> {
        vec![
            Column::new("value", DataType::Fp32, &[2]),
            Column::new("image_index", DataType::Int32, &[]),
        ]
    }

    fn write(&self, image: usize, to: &mut Columns) -> Result<(), Error> {
        for line in 0..self.0 {
            to.fp32("value", &[line as f32, 0.5])?;
            to.int32("image_index", &[image as i32])?;
        }
        Ok(())
    }
}

#[test]
fn rows_leave_as_json_and_as_tensors() {
    let no = || Error::new(Kind::Invalid, "no");
    let rows: Rows<Plain> = vec![Ok(Plain(3)), Err(no())];
    assert_eq!(rows.data(0).unwrap().get(), "[3]");
    assert_eq!(rows.prediction(0).unwrap().get(), "3");
    assert_eq!(AnyRows::error(&rows, 1).unwrap().text, "no");
    let json = Box::new(rows).outputs(&[]).unwrap().remove(0);
    assert_eq!(
        (json.shape(), json.datatype()),
        (&[1, 1][..], DataType::Bytes)
    );
    assert_eq!(json.into_data(), &b"\x01\0\0\x003"[..]);
    let rows: Rows<Ragged> = vec![Ok(Ragged(2)), Err(no()), Ok(Ragged(0)), Ok(Ragged(1))];
    let [value, index] = Box::new(rows).outputs(&[]).unwrap().try_into().unwrap();
    assert_eq!((value.shape(), index.shape()), (&[3, 2][..], &[3][..]));
    let values: Vec<_> = fp32(&value.into_data()).collect();
    assert_eq!(values, [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]);
    assert_eq!(index.into_data(), &[0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0][..]);
}
