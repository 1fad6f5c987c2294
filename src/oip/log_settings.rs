//! Triton's log settings over the level of our own log. Triton switches information, warnings and
//! errors on and off one by one; here a level includes those above it, and the answer says what is in
//! effect.

use tracing::level_filters::LevelFilter;

use super::OpenInference;
use crate::error::{Error, Kind};
use crate::observe::log;
use crate::observe::reason::Reason;
use crate::quote::quote;
use crate::wire::triton::log_settings_request::setting_value::ParameterChoice as Given;
use crate::wire::triton::log_settings_response::SettingValue;
use crate::wire::triton::log_settings_response::setting_value::ParameterChoice as Shown;
use crate::wire::triton::{LogSettingsRequest, LogSettingsResponse};

/// What is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Switches {
    info: bool,
    warning: bool,
    error: bool,
    /// 1 is `debug`, more is `trace`.
    verbose: u32,
}

impl Switches {
    fn of(level: LevelFilter) -> Self {
        Self {
            info: level >= LevelFilter::INFO,
            warning: level >= LevelFilter::WARN,
            error: level >= LevelFilter::ERROR,
            verbose: match level {
                LevelFilter::TRACE => 2,
                LevelFilter::DEBUG => 1,
                _ => 0,
            },
        }
    }

    fn level(self) -> LevelFilter {
        match self {
            Self { verbose: 2.., .. } => LevelFilter::TRACE,
            Self { verbose: 1, .. } => LevelFilter::DEBUG,
            Self { info: true, .. } => LevelFilter::INFO,
            Self { warning: true, .. } => LevelFilter::WARN,
            Self { error: true, .. } => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        }
    }

    /// With the settings of a request.
    fn changed(mut self, request: &LogSettingsRequest) -> Result<Self, Error> {
        for (name, value) in &request.settings {
            match (name.as_str(), &value.parameter_choice) {
                ("log_info", Some(Given::BoolParam(on))) => self.info = *on,
                ("log_warning", Some(Given::BoolParam(on))) => self.warning = *on,
                ("log_error", Some(Given::BoolParam(on))) => self.error = *on,
                ("log_verbose_level", Some(Given::Uint32Param(level))) => self.verbose = *level,
                ("log_info" | "log_warning" | "log_error", _) => {
                    return Err(invalid(format!("{name} must be true or false")));
                }
                ("log_verbose_level", _) => {
                    return Err(invalid(format!("{name} must be a number from 0")));
                }
                ("log_file" | "log_format", _) => {
                    return Err(invalid(format!(
                        "{name} cannot be changed while the service runs; it writes to standard \
                         error as --log_format says"
                    )));
                }
                _ => {
                    return Err(invalid(format!(
                        "unknown log setting {}; expected log_info, log_warning, log_error or \
                         log_verbose_level",
                        quote(name)
                    )));
                }
            }
        }
        Ok(self)
    }
}

fn invalid(text: String) -> Error {
    Error::new(Kind::Invalid, text)
}

impl OpenInference {
    /// Changes the log level where settings are given, and tells what is in effect.
    pub(crate) fn log_settings(
        &self,
        request: &LogSettingsRequest,
    ) -> Result<LogSettingsResponse, Error> {
        if !request.settings.is_empty() {
            if !self.log_settable {
                let text = "changing the log level is not allowed (--enable_log_settings)";
                return Err(Error::new(Kind::PermissionDenied, text).with_reason(Reason::Forbidden));
            }
            let level = Switches::of(log::level()).changed(request)?.level();
            log::set_level(level).map_err(Error::internal)?;
        }
        Ok(response(Switches::of(log::level())))
    }
}

fn response(on: Switches) -> LogSettingsResponse {
    let settings = [
        ("log_file", Shown::StringParam(String::new())),
        ("log_info", Shown::BoolParam(on.info)),
        ("log_warning", Shown::BoolParam(on.warning)),
        ("log_error", Shown::BoolParam(on.error)),
        ("log_verbose_level", Shown::Uint32Param(on.verbose)),
        ("log_format", Shown::StringParam("default".to_owned())),
    ];
    let settings = settings.map(|(name, value)| {
        let parameter_choice = Some(value);
        (name.to_owned(), SettingValue { parameter_choice })
    });
    LogSettingsResponse {
        settings: settings.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::triton::log_settings_request::SettingValue;

    fn request(settings: &[(&str, Given)]) -> LogSettingsRequest {
        let settings = settings.iter().map(|(name, value)| {
            let parameter_choice = Some(value.clone());
            ((*name).to_owned(), SettingValue { parameter_choice })
        });
        LogSettingsRequest {
            settings: settings.collect(),
        }
    }

    #[test]
    fn switches_are_levels_and_levels_switches() {
        for level in [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ] {
            assert_eq!(Switches::of(level).level(), level);
        }
        let changed = |level, settings: &[(&str, Given)]| {
            let switches = Switches::of(level).changed(&request(settings));
            switches.unwrap().level()
        };
        let (on, off) = (Given::BoolParam(true), Given::BoolParam(false));
        let verbose = |level| [("log_verbose_level", Given::Uint32Param(level))];
        assert_eq!(changed(LevelFilter::INFO, &verbose(1)), LevelFilter::DEBUG);
        assert_eq!(changed(LevelFilter::INFO, &verbose(9)), LevelFilter::TRACE);
        assert_eq!(changed(LevelFilter::TRACE, &verbose(0)), LevelFilter::INFO);
        let less = [("log_info", off.clone())];
        assert_eq!(changed(LevelFilter::INFO, &less), LevelFilter::WARN);
        let more = [("log_info", on)];
        assert_eq!(changed(LevelFilter::ERROR, &more), LevelFilter::INFO);
        // A level includes those above it.
        let hole = [("log_error", off)];
        assert_eq!(changed(LevelFilter::WARN, &hole), LevelFilter::WARN);
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let text = |name: &str, value| {
            let changed = Switches::of(LevelFilter::INFO).changed(&request(&[(name, value)]));
            changed.unwrap_err().text
        };
        let word = || Given::StringParam("x".to_owned());
        assert!(text("log_info", word()).contains("true or false"));
        assert!(text("log_verbose_level", word()).contains("number"));
        assert!(text("log_file", word()).contains("standard error"));
        assert!(text("log_nothing", word()).contains("expected log_info"));
    }
}
