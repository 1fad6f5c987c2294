//! `serve`: starts the service and drains it when a signal arrives.

use std::process::ExitCode;

use crate::service::Service;
use crate::settings::{Settings, display_targets};
use crate::shutdown;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When the service cannot start.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    for flag in &settings.without_effect {
        tracing::info!("{flag}");
    }
    let predictor = match settings.predictor.targets.as_slice() {
        [] => "embedded model".to_owned(),
        targets => display_targets(targets),
    };
    let model = settings.model_name.clone();
    let service = Service::start(settings).await?;
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
