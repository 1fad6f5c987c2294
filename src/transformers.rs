//! The transformers of a service while it is being built, and the predictors of their models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::observe::metrics::Metrics;
use crate::predictor::{
    EmbeddedModel, LocalSettings, Predictor, RemoteSettings, Resolver, Respond, Signature,
    TlsSettings,
};
use crate::quote::quote;
use crate::settings::{ConfigErrors, Settings};
use crate::transformer::{AnyTransformer, Hindrance, Model, Passthrough, Transformer};

/// How long a connection to a predictor may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a service serves: transformers by their public names.
pub struct Transformers<'a> {
    settings: &'a Settings,
    metrics: &'a Metrics,
    models: BTreeMap<String, Model>,
    transformers: BTreeMap<String, Arc<dyn AnyTransformer>>,
    /// What models answer that are not called at all.
    scripts: BTreeMap<String, Respond>,
}

impl<'a> Transformers<'a> {
    pub(crate) fn new(settings: &'a Settings, metrics: &'a Metrics) -> Self {
        Self {
            settings,
            metrics,
            models: BTreeMap::new(),
            transformers: BTreeMap::new(),
            scripts: BTreeMap::new(),
        }
    }

    /// Models of these names are not called, but answer so.
    pub(crate) fn script(&mut self, scripts: BTreeMap<String, Respond>) {
        self.scripts = scripts;
    }

    /// A model that answers zeros at once.
    pub(crate) fn null(&self, signature: Signature) -> Model {
        let predictor = Predictor::null(self.local_settings(), signature, self.metrics);
        Model::new(Arc::new(predictor))
    }

    fn local_settings(&self) -> LocalSettings {
        let predictor = &self.settings.predictor;
        LocalSettings {
            concurrency: predictor.concurrency,
            max_batch: predictor.max_batch,
        }
    }

    /// The settings of the service.
    pub fn settings(&self) -> &Settings {
        self.settings
    }

    /// A model of the predictor: on its `--model_host`, else on `--predictor_host`. Asked for again
    /// under the same name, it is the same.
    ///
    /// # Errors
    ///
    /// When no predictor is named, or a certificate file cannot be used.
    pub fn model(&mut self, signature: Signature) -> Result<Model, ConfigErrors> {
        self.find_or_start(signature, None)
    }

    /// The same, which is run in the process where no predictor is named.
    ///
    /// # Errors
    ///
    /// When a certificate file cannot be used, or the ONNX model has other tensors.
    pub fn model_or_embedded(
        &mut self,
        signature: Signature,
        embedded: EmbeddedModel,
    ) -> Result<Model, ConfigErrors> {
        self.find_or_start(signature, Some(embedded))
    }

    fn find_or_start(
        &mut self,
        signature: Signature,
        embedded: Option<EmbeddedModel>,
    ) -> Result<Model, ConfigErrors> {
        let name = signature.model.clone();
        if let Some(model) = self.models.get(&name) {
            if *model.signature() == signature {
                return Ok(model.clone());
            }
            let problem = format!("model {name:?} is used with two different signatures");
            return Err(ConfigErrors::from_one(problem));
        }
        let model = Model::new(Arc::new(self.start(signature, embedded)?));
        self.models.insert(name, model.clone());
        Ok(model)
    }

    fn start(
        &self,
        signature: Signature,
        embedded: Option<EmbeddedModel>,
    ) -> Result<Predictor, ConfigErrors> {
        if let Some(respond) = self.scripts.get(&signature.model) {
            let (respond, local) = (respond.clone(), self.local_settings());
            return Ok(Predictor::scripted(respond, local, signature, self.metrics));
        }
        let targets = self.settings.predictor.targets_of(&signature.model);
        if targets.is_empty() {
            return self.embedded(signature, embedded);
        }
        let remote = RemoteSettings {
            targets: targets.to_vec(),
            ..remote_settings(self.settings)
        };
        let predictor = Predictor::remote(&remote, signature, self.metrics);
        predictor.map_err(ConfigErrors::from_one)
    }

    #[cfg(feature = "embedded")]
    fn embedded(
        &self,
        signature: Signature,
        embedded: Option<EmbeddedModel>,
    ) -> Result<Predictor, ConfigErrors> {
        let Some(embedded) = embedded else {
            return Err(no_predictor(&signature));
        };
        let local = self.local_settings();
        let threads = self.settings.pixel_threads;
        Predictor::embedded(&embedded, threads, local, signature, self.metrics)
            .map_err(ConfigErrors::from_one)
    }

    #[cfg(not(feature = "embedded"))]
    fn embedded(
        &self,
        signature: Signature,
        _: Option<EmbeddedModel>,
    ) -> Result<Predictor, ConfigErrors> {
        Err(no_predictor(&signature))
    }

    /// Serves a transformer under this public name.
    ///
    /// # Errors
    ///
    /// When the name is taken.
    pub fn serve(&mut self, name: &str, transformer: impl Transformer) -> Result<(), ConfigErrors> {
        self.insert(name, Arc::new(transformer))
    }

    /// Serves a model as it is, under its own name.
    pub(crate) fn pass_through(
        &mut self,
        model: Model,
        hindrance: Hindrance,
    ) -> Result<(), ConfigErrors> {
        let name = model.signature().model.clone();
        self.insert(&name, Arc::new(Passthrough::new(model, hindrance)))
    }

    fn insert(
        &mut self,
        name: &str,
        transformer: Arc<dyn AnyTransformer>,
    ) -> Result<(), ConfigErrors> {
        match self.transformers.insert(name.to_owned(), transformer) {
            None => Ok(()),
            Some(_) => {
                let problem = format!("two models are to be served as {name:?}");
                Err(ConfigErrors::from_one(problem))
            }
        }
    }

    /// The transformers by their names.
    pub(crate) fn finish(self) -> Result<BTreeMap<String, Arc<dyn AnyTransformer>>, ConfigErrors> {
        let hosts = &self.settings.predictor.model_hosts;
        let unused = hosts
            .iter()
            .find(|host| !self.models.contains_key(&host.model));
        if let Some(host) = unused {
            let called: Vec<_> = self.models.keys().map(|name| quote(name)).collect();
            return Err(ConfigErrors::from_one(format!(
                "--model_host: no model {} is called; those that are: {}",
                quote(&host.model),
                called.join(", ")
            )));
        }
        Ok(self.transformers)
    }
}

fn no_predictor(signature: &Signature) -> ConfigErrors {
    let model = &signature.model;
    ConfigErrors::from_one(format!(
        "no predictor is named for model {model:?}: give --predictor_host, or --model_host \
         {model}=ADDRESS"
    ))
}

/// How the settings' predictor behind a network is reached.
pub fn remote_settings(settings: &Settings) -> RemoteSettings {
    let choice = &settings.predictor;
    RemoteSettings {
        targets: choice.targets.clone(),
        protocol: choice.protocol,
        tls: choice.tls.then(|| TlsSettings {
            ca_file: choice.ca_file.clone(),
            client: choice.client.clone(),
        }),
        headers: choice.headers.clone(),
        connections: choice.connections,
        concurrency: choice.concurrency,
        default_max_batch: choice.max_batch,
        connect_timeout: CONNECT_TIMEOUT,
        dns_refresh: choice.dns_refresh,
        resolver: Resolver::system(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ServeArgs;

    #[tokio::test]
    async fn a_host_of_a_model_that_is_not_called_is_a_mistake() {
        let flags = [
            "--predictor_host=127.0.0.1:9",
            "--model_host=pose=127.0.0.1:9",
        ];
        let args = ServeArgs::from_flags(&flags.map(str::to_owned)).unwrap();
        let settings = Settings::new(&args).unwrap();
        let metrics = Metrics::default();
        let signature = |model: &str| Signature {
            model: model.to_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let mut transformers = Transformers::new(&settings, &metrics);
        transformers.model(signature("pose")).unwrap();
        assert!(transformers.finish().is_ok());
        let mut transformers = Transformers::new(&settings, &metrics);
        transformers.model(signature("face")).unwrap();
        let error = transformers.finish().err().unwrap().to_string();
        assert!(error.contains("no model \"pose\" is called"), "{error}");
        assert!(error.contains("\"face\""), "{error}");
    }
}
