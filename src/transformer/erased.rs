//! A transformer and its rows without their types: the one place where they end. All protocols speak
//! to this.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::value::{RawValue, to_raw_value};

use super::{Column, Columns, Cx, Input, Model, Row, Rows, Transformer};
use crate::error::Error;
use crate::wire::tensor::Tensor;
use crate::wire::v1::response;

/// A [`Transformer`].
pub(crate) trait AnyTransformer: Send + Sync {
    /// The models that it calls.
    fn models(&self) -> Vec<Model>;

    /// The model whose inputs callers may send ready-made.
    fn tensor_input(&self) -> Option<&Model>;

    /// Whether it takes images, or the ready-made tensors alone.
    fn takes_images(&self) -> bool {
        true
    }

    /// What `extra_info.source` of a V1 response says.
    fn source(&self) -> &'static str;

    /// The outputs over V2 and gRPC.
    fn columns(&self) -> Vec<Column>;

    /// The schemas of the V1 responses; none where it takes no images.
    fn schemas(&self, _generator: &mut SchemaGenerator) -> Option<ResponseSchemas> {
        None
    }

    /// Input to rows.
    fn run<'a>(
        &'a self,
        input: Input,
        cx: &'a Cx<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn AnyRows>, Error>>;
}

/// The schemas of the V1 responses.
pub(crate) struct ResponseSchemas {
    /// To a Request or MultiRequest.
    pub(crate) multi_response: Schema,
    /// To `instances`.
    pub(crate) predictions: Schema,
}

impl<T: Transformer> AnyTransformer for T {
    fn models(&self) -> Vec<Model> {
        Transformer::models(self)
    }

    fn tensor_input(&self) -> Option<&Model> {
        Transformer::tensor_input(self)
    }

    fn source(&self) -> &'static str {
        T::Row::SOURCE
    }

    fn columns(&self) -> Vec<Column> {
        T::Row::columns()
    }

    fn schemas(&self, generator: &mut SchemaGenerator) -> Option<ResponseSchemas> {
        Some(ResponseSchemas {
            multi_response: multi_response(T::Row::data, generator),
            predictions: predictions(T::Row::prediction, generator),
        })
    }

    fn run<'a>(
        &'a self,
        input: Input,
        cx: &'a Cx<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn AnyRows>, Error>> {
        async move {
            let rows = Transformer::run(self, input, cx).await?;
            Ok(Box::new(rows) as Box<dyn AnyRows>)
        }
        .boxed()
    }
}

/// The schema of a response whose entries are what `data` gives.
fn multi_response<'a, R: 'a, T: JsonSchema>(
    _data: impl Fn(&'a R) -> T,
    generator: &mut SchemaGenerator,
) -> Schema {
    response::multi_response_schema::<T>(generator)
}

/// The schema of a response whose elements are what `prediction` gives.
fn predictions<'a, R: 'a, T: JsonSchema>(
    _prediction: impl Fn(&'a R) -> T,
    generator: &mut SchemaGenerator,
) -> Schema {
    response::predictions_schema::<T>(generator)
}

/// The [`Rows`] of a request.
pub(crate) trait AnyRows: Send {
    /// One for each image.
    fn len(&self) -> usize;

    /// The error of the image of this index, if it failed.
    fn error(&self, index: usize) -> Option<&Error>;

    /// The list `data` of a V1 response; empty for an image that failed.
    fn data(&self, index: usize) -> serde_json::Result<Box<RawValue>>;

    /// The element of `predictions`; null for an image that failed.
    fn prediction(&self, index: usize) -> serde_json::Result<Box<RawValue>>;

    /// The outputs over V2 and gRPC, behind them those `on_request` that are asked for; images that
    /// failed have what stands for them.
    ///
    /// # Errors
    ///
    /// When they cannot be written; a defect.
    fn outputs(self: Box<Self>, on_request: &[String]) -> Result<Vec<Tensor>, Error>;
}

impl<R: Row> AnyRows for Rows<R> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn error(&self, index: usize) -> Option<&Error> {
        self.get(index)?.as_ref().err()
    }

    fn data(&self, index: usize) -> serde_json::Result<Box<RawValue>> {
        match self.get(index) {
            Some(Ok(row)) => to_raw_value(&row.data()),
            _ => to_raw_value(&[(); 0]),
        }
    }

    fn prediction(&self, index: usize) -> serde_json::Result<Box<RawValue>> {
        match self.get(index) {
            Some(Ok(row)) => to_raw_value(&row.prediction()),
            _ => to_raw_value(&()),
        }
    }

    fn outputs(self: Box<Self>, on_request: &[String]) -> Result<Vec<Tensor>, Error> {
        let mut columns = Columns::new(R::columns(), on_request);
        for (image, row) in self.iter().enumerate() {
            match row {
                Ok(row) => row.write(image, &mut columns)?,
                Err(_) => R::write_failed(image, &mut columns)?,
            }
        }
        columns.finish()
    }
}
