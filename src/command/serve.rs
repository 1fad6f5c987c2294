//! `serve`: starts the service and drains it when a signal arrives.

use std::process::ExitCode;

use http::header::AUTHORIZATION;

use crate::service::{Build, Service};
use crate::settings::{Settings, display_targets};
use crate::shutdown;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When the service cannot start.
pub async fn run(settings: Settings, build: Build) -> anyhow::Result<ExitCode> {
    for flag in &settings.without_effect {
        tracing::info!("{flag}");
    }
    if forwards_credentials_in_plain_text(&settings) {
        tracing::info!(
            "the authorization header of requests is forwarded to the predictor in plain text: \
             --predictor_use_ssl encrypts it, --forward_headers without it keeps it here"
        );
    }
    let predictor = match settings.predictor.targets.as_slice() {
        [] => "embedded model".to_owned(),
        targets => display_targets(targets),
    };
    let model = settings.model_name.clone();
    let service = Service::start(settings, build).await?;
    tracing::info!(
        http = %service.http,
        grpc = service.grpc.map(tracing::field::display),
        model,
        predictor,
        "listening"
    );
    let signal = shutdown::signalled().await?;
    tracing::info!(signal, "stopping");
    service.drain().await;
    Ok(ExitCode::SUCCESS)
}

/// Whether callers' credentials leave this machine unencrypted. That is KServe's default, within a
/// cluster's network.
fn forwards_credentials_in_plain_text(settings: &Settings) -> bool {
    let predictor = &settings.predictor;
    let forwarded = &settings.front.forward_headers;
    forwarded
        .iter()
        .any(|header| header.matches(&AUTHORIZATION))
        && !predictor.tls
        && predictor.targets.iter().any(|target| !target.is_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ServeArgs;

    #[test]
    fn credentials_in_plain_text_are_noticed() {
        for (flags, expected) in [
            (&["--predictor_host=triton:8001"][..], true),
            (&["--predictor_host=127.0.0.1:1,triton:8001"], true),
            (&["--predictor_host=triton", "--forward_headers=a*"], true),
            (&["--predictor_host=triton", "--forward_headers=x-a"], false),
            (&["--predictor_host=triton", "--predictor_use_ssl"], false),
            (&["--predictor_host=localhost:1,[::1]:1,unix:/a"], false),
            (&[], false),
        ] {
            let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
            let args = ServeArgs::from_flags(&flags).unwrap();
            let Ok(settings) = Settings::new(&args) else {
                continue; // A build without the embedded model needs a predictor.
            };
            let found = forwards_credentials_in_plain_text(&settings);
            assert_eq!(found, expected, "{flags:?}");
        }
    }
}
