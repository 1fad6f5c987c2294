//! How one image's result leaves: as JSON over V1, as tensors over V2 and gRPC. All that a caller
//! gets, and what `/openapi.json` says of it, follows from this one type.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Error;
use crate::wire::bytes_tensor::put_element;
use crate::wire::tensor::{DataType, Tensor};

/// An image's result.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how it leaves",
    label = "derive `serde::Serialize` and `schemars::JsonSchema`, and `impl Row for {Self}`; by default it leaves as JSON in a BYTES output"
)]
pub trait Row: Serialize + JsonSchema + Send + Sized + 'static {
    /// What `extra_info.source` of a V1 response says.
    const SOURCE: &'static str;

    /// The list `data` of a V1 response: by default the row alone. A row that is a list gives
    /// itself.
    fn data(&self) -> impl Serialize + JsonSchema + '_ {
        std::slice::from_ref(self)
    }

    /// The element of KServe's `predictions`.
    fn prediction(&self) -> impl Serialize + JsonSchema + '_ {
        self
    }

    /// The outputs over V2 and gRPC: by default one, `result`, with the row's JSON.
    fn columns() -> Vec<Column> {
        vec![Column::new("result", DataType::Bytes, &[1])]
    }

    /// Appends the lines of this row, the result of the image of this index: none, one or several, as
    /// many to each column. Where that is not one for each image, an INT32 column `image_index`
    /// tells to which a line belongs.
    ///
    /// # Errors
    ///
    /// When it cannot be written; a defect.
    fn write(&self, image: usize, to: &mut Columns) -> Result<(), Error> {
        let _ = image;
        to.json("result", self)
    }

    /// Appends what stands for an image that failed, where the caller asks for the errors: by default
    /// nothing, as is right where an image may have no line.
    ///
    /// # Errors
    ///
    /// When it cannot be written; a defect.
    fn write_failed(image: usize, to: &mut Columns) -> Result<(), Error> {
        let _ = (image, to);
        Ok(())
    }
}

/// An output over V2 and gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its datatype.
    pub datatype: DataType,
    /// The shape of one line.
    pub row: Vec<i64>,
    /// Whether it is made only for callers who ask for it by its name.
    pub on_request: bool,
}

impl Column {
    /// An output of this name.
    pub fn new(name: &'static str, datatype: DataType, row: &[i64]) -> Self {
        Self {
            name: Cow::Borrowed(name),
            datatype,
            row: row.to_vec(),
            on_request: false,
        }
    }

    /// The same, made only for callers who ask for it: [`Cx::wants`](super::Cx::wants) tells. Metadata
    /// does not show it, since generic clients ask for every output that is shown.
    pub fn on_request(self) -> Self {
        Self {
            on_request: true,
            ..self
        }
    }
}

/// The outputs while rows are written to them.
#[derive(Debug)]
pub struct Columns(Vec<(Column, BytesMut, usize)>);

impl Columns {
    /// The outputs that are always made and, behind them, those `on_request` that are asked for.
    pub(super) fn new(columns: Vec<Column>, on_request: &[String]) -> Self {
        let (asked, always): (Vec<_>, Vec<_>) =
            columns.into_iter().partition(|column| column.on_request);
        let asked = asked
            .into_iter()
            .filter(|column| on_request.iter().any(|name| *name == column.name));
        let columns = always.into_iter().chain(asked);
        Self(columns.map(|column| (column, BytesMut::new(), 0)).collect())
    }

    /// Whether an output is made for this caller.
    pub fn wants(&self, name: &str) -> bool {
        self.0.iter().any(|(column, ..)| column.name == name)
    }

    fn column(
        &mut self,
        name: &str,
        datatype: DataType,
        elements: usize,
    ) -> Result<&mut BytesMut, Error> {
        let found = self.0.iter_mut().find(|(column, ..)| column.name == name);
        match found {
            Some((column, values, count)) if column.datatype == datatype => {
                *count += elements;
                Ok(values)
            }
            _ => Err(Error::internal(format!("no {datatype} output {name:?}"))),
        }
    }

    /// Appends to an FP32 output.
    ///
    /// # Errors
    ///
    /// When there is none of this name; a defect, as below.
    pub fn fp32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let column = self.column(name, DataType::Fp32, values.len())?;
        values.iter().for_each(|&value| column.put_f32_le(value));
        Ok(())
    }

    /// Appends to an INT32 output.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn int32(&mut self, name: &str, values: &[i32]) -> Result<(), Error> {
        let column = self.column(name, DataType::Int32, values.len())?;
        values.iter().for_each(|&value| column.put_i32_le(value));
        Ok(())
    }

    /// Appends to a UINT8 output.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn uint8(&mut self, name: &str, values: &[u8]) -> Result<(), Error> {
        let column = self.column(name, DataType::Uint8, values.len())?;
        column.put_slice(values);
        Ok(())
    }

    /// Appends an element to a BYTES output.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn bytes(&mut self, name: &str, element: &[u8]) -> Result<(), Error> {
        let column = self.column(name, DataType::Bytes, 1)?;
        put_element(column, element).map_err(Error::internal)
    }

    /// Appends JSON to a BYTES output.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or the value cannot be JSON.
    pub fn json(&mut self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_vec(value).map_err(Error::internal)?;
        self.bytes(name, &json)
    }

    /// The outputs; all must have the same number of lines.
    pub(super) fn finish(self) -> Result<Vec<Tensor>, Error> {
        let mut lines = None;
        let mut tensors = Vec::with_capacity(self.0.len());
        for (column, values, elements) in self.0 {
            let of_line = column.row.iter().product::<i64>().max(1) as usize;
            let found = elements / of_line;
            if elements % of_line != 0 || *lines.get_or_insert(found) != found {
                let name = column.name;
                let text = format!("output {name:?} has {elements} elements, not {of_line} a line");
                return Err(Error::internal(text));
            }
            let shape = std::iter::once(found as i64).chain(column.row);
            tensors.push(Tensor::new(
                column.datatype,
                shape.collect(),
                values.freeze(),
            ));
        }
        Ok(tensors)
    }
}
