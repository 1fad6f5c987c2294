//! What the flags and OpenTelemetry's variables say of traces. Flags win.

use clap::ValueEnum;

use crate::observe::spans::{OtlpProtocol, Sampler, TraceSettings};
use crate::settings::{Ignored, ServeArgs};

/// OpenTelemetry's variables for the collector's URL, the more specific first.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
/// For the protocol it speaks.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
/// For which requests are traced.
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";
/// For whether traces are exported at all, and to what.
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// The port on which collectors speak gRPC.
const GRPC_PORT: u16 = 4317;

/// What was found.
pub(super) struct Traces {
    pub(super) settings: TraceSettings,
    /// Flags whose values OpenTelemetry's variables gave.
    pub(super) from_environment: Vec<&'static str>,
    /// Variables that were given and have no effect.
    pub(super) ignored: Vec<Ignored>,
}

impl Traces {
    /// Reads the flags, and what they leave open from the environment.
    pub(super) fn new(
        args: &ServeArgs,
        variable: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Self {
        let variable = |name: &str| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let mut found = Self {
            settings: TraceSettings {
                endpoint: None,
                protocol: OtlpProtocol::HttpProtobuf,
                sampler: Sampler {
                    ratio: 1.0,
                    parent_based: true,
                },
            },
            from_environment: Vec::new(),
            ignored: Vec::new(),
        };
        if let Some(ratio) = args.trace_sample {
            found.settings.sampler.ratio = ratio;
            if !(0.0..=1.0).contains(&ratio) {
                problems.push("--trace_sample must be from 0 to 1".to_owned());
            }
        }
        let (source, endpoint) = match &args.otlp_endpoint {
            Some(endpoint) => ("--otlp_endpoint", endpoint.trim().to_owned()),
            None if found.is_off(&variable) => return found,
            None => match first(&ENDPOINTS, &variable) {
                Some((name, endpoint)) => {
                    found.from_environment.push("otlp_endpoint");
                    (name, endpoint)
                }
                None => return found,
            },
        };
        if endpoint.is_empty() {
            return found;
        }
        if !cfg!(feature = "otlp") {
            problems.push(format!(
                "{source}: this program was built without the feature otlp, which exports traces"
            ));
        }
        let port = port(&endpoint).map_err(|problem| format!("{source}: {problem}"));
        match port.and_then(|port| protocol(args.otlp_protocol, port, &variable)) {
            Ok(protocol) => found.settings.protocol = protocol,
            Err(problem) => problems.push(problem),
        }
        if args.trace_sample.is_none() {
            found.read_sampler(&variable, problems);
        }
        found.settings.endpoint = Some(endpoint);
        found
    }

    /// Whether the environment turns traces off, or wants them where they are not sent.
    fn is_off(&mut self, variable: &impl Fn(&str) -> Option<String>) -> bool {
        if variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return true;
        }
        let Some(exporters) = variable(EXPORTER) else {
            return false;
        };
        if exporters
            .split(',')
            .any(|exporter| exporter.trim() == "otlp")
        {
            return false;
        }
        if exporters != "none" {
            self.ignored.push(Ignored {
                what: format!("{EXPORTER}={exporters}"),
                reason: "traces go to an OTLP collector or nowhere",
            });
        }
        true
    }

    fn read_sampler(
        &mut self,
        variable: &impl Fn(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) {
        let Some(name) = variable(SAMPLER) else {
            return;
        };
        self.from_environment.push("trace_sample");
        let (root, parent_based) = match name.strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (name.as_str(), false),
        };
        let ratio = match root {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => match variable(RATIO) {
                None => Some(1.0),
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|ratio| (0.0..=1.0).contains(ratio)),
            },
            _ => {
                return problems.push(format!(
                    "{SAMPLER}: unknown sampler {name:?}; expected always_on, always_off or \
                     traceidratio, with or without parentbased_ in front"
                ));
            }
        };
        match ratio {
            Some(ratio) => {
                self.settings.sampler = Sampler {
                    ratio,
                    parent_based,
                }
            }
            None => problems.push(format!("{RATIO}: expected a number from 0 to 1")),
        }
    }
}

/// The first of these variables that is set, and its value.
fn first(
    names: &[&'static str],
    variable: &impl Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    names.iter().find_map(|&name| Some((name, variable(name)?)))
}

/// The port of a collector's URL, where it says one.
fn port(endpoint: &str) -> Result<Option<u16>, &'static str> {
    let expected = "expected http://HOST:PORT or https://HOST:PORT";
    let url = endpoint.parse::<http::Uri>().map_err(|_| expected)?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => {
            Ok(authority.port_u16())
        }
        _ => Err(expected),
    }
}

/// What a flag or the environment says of the protocol, else what is usual on the port.
fn protocol(
    given: Option<OtlpProtocol>,
    port: Option<u16>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<OtlpProtocol, String> {
    if let Some(protocol) = given {
        return Ok(protocol);
    }
    match first(&PROTOCOLS, variable) {
        Some((source, name)) => OtlpProtocol::from_str(&name, false).map_err(|_| {
            format!("{source}: unknown protocol {name:?}; expected grpc or http/protobuf")
        }),
        None if port == Some(GRPC_PORT) => Ok(OtlpProtocol::Grpc),
        None => Ok(OtlpProtocol::HttpProtobuf),
    }
}

#[cfg(feature = "otlp")]
#[cfg(test)]
mod tests {
    use super::*;

    fn traces(flags: &[&str], environment: &[(&str, &str)]) -> Result<Traces, Vec<String>> {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let args = ServeArgs::from_flags(&flags).unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let mut problems = Vec::new();
        let traces = Traces::new(&args, variable, &mut problems);
        if problems.is_empty() {
            Ok(traces)
        } else {
            Err(problems)
        }
    }

    fn settings(flags: &[&str], environment: &[(&str, &str)]) -> TraceSettings {
        traces(flags, environment)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .settings
    }

    #[test]
    fn what_kserve_sets_is_enough() {
        let found = settings(
            &[],
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector:4317"),
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ],
        );
        assert_eq!(
            found,
            TraceSettings {
                endpoint: Some("http://otel-collector:4317".to_owned()),
                protocol: OtlpProtocol::Grpc,
                sampler: Sampler {
                    ratio: 0.1,
                    parent_based: true
                },
            }
        );
    }

    #[test]
    fn flags_win() {
        let environment = [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:4317"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
        ];
        let flags = ["--otlp_endpoint=http://mine:4318", "--trace_sample=0.5"];
        let found = settings(&flags, &environment);
        assert_eq!(found.endpoint.as_deref(), Some("http://mine:4318"));
        assert_eq!(found.protocol, OtlpProtocol::HttpProtobuf);
        assert_eq!(found.sampler.ratio, 0.5);
        assert_eq!(
            settings(&["--otlp_endpoint="], &environment[1..]).endpoint,
            None
        );
    }

    #[test]
    fn the_specific_variable_wins_and_the_port_decides_last() {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ];
        let found = settings(&[], &environment);
        assert_eq!(found.endpoint.as_deref(), Some("http://traces:4317"));
        assert_eq!(found.protocol, OtlpProtocol::HttpProtobuf);
        let samplers = [
            ("always_on", 1.0),
            ("always_off", 0.0),
            ("traceidratio", 0.25),
        ];
        for (name, ratio) in samplers {
            let more = [
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ];
            let sampler = settings(&[], &[&environment[..], &more].concat()).sampler;
            assert_eq!(
                sampler,
                Sampler {
                    ratio,
                    parent_based: false
                }
            );
        }
    }

    #[test]
    fn without_an_endpoint_or_when_disabled_nothing_is_traced() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        assert_eq!(
            settings(&[], &[("OTEL_TRACES_SAMPLER", "?")]).endpoint,
            None
        );
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(settings(&[], &[endpoint, off]).endpoint, None);
        }
        let found = traces(&[], &[endpoint, ("OTEL_TRACES_EXPORTER", "console")]);
        let found = found.unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(found.settings.endpoint, None);
        assert_eq!(found.ignored[0].what, "OTEL_TRACES_EXPORTER=console");
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        for (flags, environment, expected) in [
            (&["--trace_sample=2"][..], &[][..], "--trace_sample must be"),
            (
                &["--otlp_endpoint=c:4317"],
                &[],
                "--otlp_endpoint: expected http://",
            ),
            (
                &[],
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c")],
                "OTEL_EXPORTER_OTLP_ENDPOINT: ",
            ),
            (
                &[],
                &[endpoint, ("OTEL_TRACES_SAMPLER", "xray")],
                "OTEL_TRACES_SAMPLER: ",
            ),
            (
                &[],
                &[
                    endpoint,
                    ("OTEL_TRACES_SAMPLER", "traceidratio"),
                    ("OTEL_TRACES_SAMPLER_ARG", "10%"),
                ],
                "OTEL_TRACES_SAMPLER_ARG: ",
            ),
            (
                &[],
                &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
                "OTEL_EXPORTER_OTLP_PROTOCOL: ",
            ),
        ] {
            let problems = traces(flags, environment).err().unwrap();
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
    }
}
