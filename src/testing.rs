//! A team's transformers tested without Triton: scripted models and a started service.
//!
//! ```
//! # use kserve_transformer::{Transformers, ConfigErrors, testing::TestService};
//! # fn build(_: &mut Transformers<'_>) -> Result<(), ConfigErrors> { Ok(()) }
//! # async fn example() -> anyhow::Result<()> {
//! let service = TestService::new().model("animal", |inputs| Ok(inputs)).start(build).await?;
//! let (status, response) = service.predict("animal", &[b"an image"]).await?;
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::predictor::{Error, Respond};
use crate::service::Service;
use crate::settings::{ConfigErrors, ServeArgs, Settings};
use crate::transformers::Transformers;
use crate::wire::tensor::Tensor;
use crate::wire::v1;

/// A service to be started, and what its models answer.
#[derive(Default)]
pub struct TestService {
    models: BTreeMap<String, Respond>,
    flags: Vec<String>,
}

impl TestService {
    /// A service on free ports of the loopback interface.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers the calls of the model of this name: inputs to outputs, both in the signature's order.
    #[must_use]
    pub fn model(
        mut self,
        name: &str,
        respond: impl Fn(Vec<Tensor>) -> Result<Vec<Tensor>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.models
            .insert(name.to_owned(), Respond(Arc::new(respond)));
        self
    }

    /// The same with a flag of `serve`, such as `--image_errors=report`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts it with the transformers that `build` gives. Models without a script are where the flags
    /// say.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub async fn start(
        self,
        build: impl Fn(&mut Transformers<'_>) -> Result<(), ConfigErrors>,
    ) -> anyhow::Result<Started> {
        let own = ["--host=127.0.0.1", "--http_port=0", "--grpc_port=0"];
        let notice = "--drain_notice_seconds=0";
        // Nobody is there: a model that is neither scripted nor embedded is not ready.
        let host = "--predictor_host=127.0.0.1:9";
        let flags = own.into_iter().chain([notice, host]).map(str::to_owned);
        let flags: Vec<_> = flags.chain(self.flags).collect();
        let settings = Settings::new(&ServeArgs::from_flags(&flags)?)?;
        let models = self.models;
        let service = Service::start(settings, |transformers: &mut Transformers<'_>| {
            transformers.script(models.clone());
            build(transformers)
        });
        let service = service.await?;
        Ok(Started {
            url: format!("http://{}", service.http),
            client: reqwest::Client::new(),
            _service: service,
        })
    }
}

/// A service that runs until this is dropped.
pub struct Started {
    /// Where it listens, without a slash at the end.
    pub url: String,
    client: reqwest::Client,
    _service: Service,
}

impl Started {
    /// The status and the MultiResponse of a prediction for these encoded images.
    ///
    /// # Errors
    ///
    /// When there is no response, or one that is not JSON.
    pub async fn predict(&self, model: &str, images: &[&[u8]]) -> anyhow::Result<(u16, Value)> {
        let item = |image: &&[u8]| {
            let base64 = base64_simd::STANDARD.encode_to_string(image);
            format!("data:application/octet-stream;base64,{base64}")
        };
        let items: Vec<_> = images.iter().map(item).collect();
        self.post(
            &format!("/v1/models/{model}:predict"),
            v1::request::to_json(&items),
        )
        .await
    }

    /// The status and the response of a V2 inference with these BYTES elements as the input `image`.
    ///
    /// # Errors
    ///
    /// As [`Self::predict`].
    pub async fn infer(&self, model: &str, images: &[&[u8]]) -> anyhow::Result<(u16, Value)> {
        let encode = |image: &&[u8]| base64_simd::STANDARD.encode_to_string(image);
        let data: Vec<_> = images.iter().map(encode).collect();
        let input =
            json!({"name": "image", "datatype": "BYTES", "shape": [data.len()], "data": data});
        let body = json!({"inputs": [input]}).to_string();
        self.post(&format!("/v2/models/{model}/infer"), body.into_bytes())
            .await
    }

    /// The status and the response of a GET, such as of `/openapi.json`.
    ///
    /// # Errors
    ///
    /// As [`Self::predict`].
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        read(self.client.get(format!("{}{path}", self.url))).await
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<(u16, Value)> {
        read(self.client.post(format!("{}{path}", self.url)).body(body)).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    Ok((status, response.json().await?))
}
