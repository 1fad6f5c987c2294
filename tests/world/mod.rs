//! A service on free ports in front of a scripted Triton, and a client.

#[cfg(feature = "otlp")]
pub(crate) mod collector;
pub(crate) mod triton;

use std::collections::BTreeMap;

use kserve_transformer::ServeArgs;
use kserve_transformer::Service;
use kserve_transformer::Settings;
use kserve_transformer::command;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::world::triton::{FakeTriton, Script};

/// All that a test needs.
pub(crate) struct World {
    pub(crate) triton: FakeTriton,
    pub(crate) service: Service,
    pub(crate) client: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl World {
    /// A service with default flags.
    pub(crate) async fn new() -> Self {
        Self::with(&[], |_| ()).await
    }

    /// A service with these flags in front of a Triton with this script, ready.
    pub(crate) async fn with(flags: &[&str], script: impl FnOnce(&mut Script)) -> Self {
        let world = Self::unready(flags, script).await;
        world.wait_ready().await;
        world
    }

    /// The same, without waiting for it to be ready.
    pub(crate) async fn unready(flags: &[&str], script: impl FnOnce(&mut Script)) -> Self {
        let triton = FakeTriton::start_with(script).await;
        let host = format!("--predictor_host={}", triton.host());
        let mut all = vec![host, "--predictor_protocol=grpc-v2".to_owned()];
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let service = service(&all).await;
        Self {
            triton,
            service,
            client: reqwest::Client::new(),
        }
    }

    pub(crate) async fn wait_ready(&self) {
        for _ in 0..1000 {
            if self.get("/v2/health/ready").await.status == 200 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never ready: {}", self.get("/v2/health/ready").await.text);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.http)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.client.request(method, self.url(path)).body(body);
        read(request.send().await.unwrap()).await
    }

    /// `POST …:predict`
    pub(crate) async fn predict(&self, body: impl Into<reqwest::Body>) -> Answer {
        self.send(Method::POST, "/v1/models/facequality:predict", body)
            .await
    }

    /// The scores of a MultiRequest of these images.
    pub(crate) async fn scores(&self, images: &[Vec<u8>]) -> Vec<f64> {
        let answer = self.predict(multi(images)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.scores()
    }
}

/// The values of a page of metrics, by name and labels.
pub(crate) fn page(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// A service with these flags on free ports of the loopback interface.
pub(crate) async fn service(flags: &[String]) -> Service {
    let mut all = vec![
        "--host=127.0.0.1".to_owned(),
        "--http_port=0".to_owned(),
        "--grpc_port=0".to_owned(),
        "--drain_notice_seconds=0".to_owned(),
    ];
    all.extend_from_slice(flags);
    let args = ServeArgs::from_flags(&all).unwrap();
    let settings = Settings::new(&args).unwrap();
    Service::start(settings, command::transformers)
        .await
        .unwrap()
}

pub(crate) async fn read(answer: reqwest::Response) -> Answer {
    Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The text behind `error`.
    pub(crate) fn error(&self) -> String {
        let value = self.json();
        assert_eq!(
            value.as_object().map(serde_json::Map::len),
            Some(1),
            "{}",
            self.text
        );
        value["error"].as_str().unwrap().to_owned()
    }

    pub(crate) fn scores(&self) -> Vec<f64> {
        let value = self.json();
        let entries = value["multi_data"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["data"][0]["score"].as_f64().unwrap())
            .collect()
    }
}

/// An image of one grey.
pub(crate) fn grey(value: u8) -> Vec<u8> {
    grey_of(16, value)
}

/// A square PNG of one grey, `side` pixels wide.
pub(crate) fn grey_of(side: u32, value: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    let pixels = vec![value; (side * side * 3) as usize];
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The score that the scripted Triton gives it: the mean of its tensor.
pub(crate) fn score_of_grey(value: u8) -> f64 {
    f64::from((f32::from(value) - 127.5) / 128.0)
}

/// A `data:` item of an image.
pub(crate) fn item(image: &[u8]) -> String {
    format!(
        "data:image/png;base64,{}",
        base64_simd::STANDARD.encode_to_string(image)
    )
}

/// A Request of an item.
pub(crate) fn single(item: &str) -> String {
    serde_json::json!({"data": {"item": item}}).to_string()
}

/// A MultiRequest of images.
pub(crate) fn multi(images: &[Vec<u8>]) -> String {
    let requests: Vec<_> = images
        .iter()
        .map(|image| serde_json::json!({"data": {"item": item(image)}}))
        .collect();
    serde_json::json!({"multi_data": requests}).to_string()
}
