//! The datatypes of tensors, by the names that the Open Inference Protocol gives them.

use std::fmt;

use crate::wire::triton::DataType as ConfigType;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// A byte, 0 or 1.
    Bool,
    /// An unsigned byte.
    Uint8,
    /// A signed byte.
    Int8,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// IEEE 754's half precision.
    Fp16,
    /// IEEE 754's single precision.
    Fp32,
    /// Bytes of any length, each element preceded by its length in four bytes.
    Bytes,
}

impl DataType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Bool,
        Self::Uint8,
        Self::Int8,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Fp32,
        Self::Bytes,
    ];

    /// The name in requests, responses and metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Int8 => "INT8",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Fp32 => "FP32",
            Self::Bytes => "BYTES",
        }
    }

    /// The type of this name, if it is one of these.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|datatype| datatype.name() == name)
    }

    /// Their names as a choice.
    pub fn one_of(datatypes: &[Self]) -> String {
        Self::join(datatypes, " or ")
    }

    /// Their names, separated by commas.
    pub fn list(datatypes: &[Self]) -> String {
        Self::join(datatypes, ",")
    }

    fn join(datatypes: &[Self], between: &str) -> String {
        let names: Vec<_> = datatypes.iter().map(|datatype| datatype.name()).collect();
        names.join(between)
    }

    /// Bytes of an element; nothing where elements differ.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Fp16 => Some(2),
            Self::Int32 | Self::Fp32 => Some(4),
            Self::Int64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// The same in a model's configuration.
    pub const fn config_type(self) -> ConfigType {
        match self {
            Self::Bool => ConfigType::TypeBool,
            Self::Uint8 => ConfigType::TypeUint8,
            Self::Int8 => ConfigType::TypeInt8,
            Self::Int32 => ConfigType::TypeInt32,
            Self::Int64 => ConfigType::TypeInt64,
            Self::Fp16 => ConfigType::TypeFp16,
            Self::Fp32 => ConfigType::TypeFp32,
            Self::Bytes => ConfigType::TypeString,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for datatype in DataType::ALL {
            assert_eq!(DataType::from_name(datatype.name()), Some(datatype));
            let config = datatype.config_type().as_str_name();
            assert!(config.starts_with("TYPE_"), "{config}");
        }
        assert_eq!(DataType::from_name("FP64"), None);
    }
}
