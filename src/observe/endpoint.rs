//! Where a request came in: the labels `protocol` and `route`.

/// What a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// KServe's V1.
    V1,
    /// The Open Inference Protocol over REST.
    V2,
    /// The same over gRPC, and health and reflection beside it.
    Grpc,
    /// HTTP without either, such as `/metrics` or a head that is none.
    Http,
}

impl Protocol {
    /// The value of the label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// V1's prediction.
    Predict,
    /// V2's prediction.
    Infer,
    /// gRPC's prediction.
    ModelInfer,
    /// A message of a stream of predictions.
    ModelStreamInfer,
    /// Is the server alive, is it or a model ready?
    Health,
    /// `/metrics`
    Metrics,
    /// What the server and its models are and did.
    Metadata,
    /// None of these.
    Other,
}

impl Route {
    /// The value of the label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Infer => "infer",
            Self::ModelInfer => "ModelInfer",
            Self::ModelStreamInfer => "ModelStreamInfer",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Metadata => "metadata",
            Self::Other => "other",
        }
    }
}

/// Protocol and route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// What it is for.
    pub(crate) route: Route,
}

impl Endpoint {
    /// Those of predictions.
    pub(crate) const PREDICTIONS: [Self; 4] = [
        Self::new(Protocol::V1, Route::Predict),
        Self::new(Protocol::V2, Route::Infer),
        Self::new(Protocol::Grpc, Route::ModelInfer),
        Self::new(Protocol::Grpc, Route::ModelStreamInfer),
    ];

    pub(crate) const fn new(protocol: Protocol, route: Route) -> Self {
        Self { protocol, route }
    }

    /// Its place among [`Self::PREDICTIONS`].
    pub(crate) fn prediction(self) -> Option<usize> {
        Self::PREDICTIONS
            .iter()
            .position(|prediction| prediction.route == self.route)
    }
}
