//! The log settings as JSON: `GET` and `POST /v2/logging`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ParseError, invalid};
use crate::wire::triton::log_settings_request::SettingValue;
use crate::wire::triton::log_settings_request::setting_value::ParameterChoice as Given;
use crate::wire::triton::log_settings_response::setting_value::ParameterChoice as Shown;
use crate::wire::triton::{LogSettingsRequest, LogSettingsResponse};

/// Reads the body of `POST /v2/logging`.
///
/// # Errors
///
/// When it is no object of booleans, numbers and strings; the text does not quote it.
pub fn parse_log_settings(body: &[u8]) -> Result<LogSettingsRequest, ParseError> {
    let Ok(settings) = serde_json::from_slice::<BTreeMap<String, Value>>(body) else {
        return invalid("the body must be a JSON object of log settings");
    };
    let mut request = LogSettingsRequest::default();
    for (name, value) in settings {
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let given = match &value {
            Value::Bool(on) => Given::BoolParam(*on),
            Value::String(text) => Given::StringParam(text.clone()),
            value => match number(value) {
                Some(number) => Given::Uint32Param(number),
                None => return invalid("a log setting must be a boolean, a number or a string"),
            },
        };
        let parameter_choice = Some(given);
        request
            .settings
            .insert(name, SettingValue { parameter_choice });
    }
    Ok(request)
}

/// The response of both.
pub fn log_settings(response: &LogSettingsResponse) -> BTreeMap<&str, Value> {
    let settings = response.settings.iter();
    settings
        .map(|(name, value)| {
            let value = match &value.parameter_choice {
                Some(Shown::BoolParam(on)) => Value::from(*on),
                Some(Shown::Uint32Param(number)) => Value::from(*number),
                Some(Shown::StringParam(text)) => Value::from(text.as_str()),
                None => Value::Null,
            };
            (name.as_str(), value)
        })
        .collect()
}
