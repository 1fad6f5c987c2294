//! What the running Triton says of itself when it is asked: its version over both protocols, and its
//! metrics.

use std::time::Duration;

use tokio::time::timeout;

use crate::predictor::Target;
use crate::settings::Settings;
use crate::wire::triton::ServerMetadataRequest;
use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;

/// Triton's own ports for HTTP, gRPC and metrics.
const HTTP_PORT: u16 = 8000;
const GRPC_PORT: u16 = 8001;
const METRICS_PORT: u16 = 8002;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found out; nothing where nothing answered.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The server's name and version, and the address that said so.
    pub(super) version: Option<(String, String)>,
    /// Addresses that answered.
    pub(super) http: Option<(u16, String)>,
    pub(super) grpc: Option<(u16, String)>,
    /// The metrics and their address.
    pub(super) metrics: Option<(Metrics, String)>,
}

impl Asked {
    /// Asks the first address of the settings' predictor, and Triton's own ports on the same host.
    pub(super) async fn of(settings: &Settings, metrics: Option<&str>) -> Self {
        let mut asked = Self::default();
        let predictor = &settings.predictor;
        let target = predictor.targets_of(&predictor.model).first();
        let host = match target {
            Some(Target::Host { host, port } | Target::Dns { name: host, port }) => {
                Some((host.clone(), port.number()))
            }
            Some(Target::Unix(_)) | None => None,
        };
        // Over TLS it is left open: its certificates are the service's affair.
        if let Some((host, port)) = host.as_ref().filter(|_| !predictor.tls) {
            asked.ask_ports(&bracketed(host), *port).await;
        }
        let metrics = metrics.map(str::to_owned).or_else(|| {
            let (host, _) = host.as_ref()?;
            Some(format!("{}:{METRICS_PORT}", bracketed(host)))
        });
        if let Some(address) = metrics {
            let url = format!("http://{address}/metrics");
            asked.metrics = page(&url).await.map(|text| (Metrics(text), url));
        }
        asked
    }

    async fn ask_ports(&mut self, host: &str, given: u16) {
        for port in [given, HTTP_PORT, GRPC_PORT] {
            let address = format!("{host}:{port}");
            if self.http.is_none()
                && port != GRPC_PORT
                && let Some(version) = http_version(&address).await
            {
                let url = format!("http://{address}/v2");
                self.http = Some((port, url.clone()));
                self.version.get_or_insert((version, url));
                continue;
            }
            if self.grpc.is_none()
                && port != HTTP_PORT
                && let Some(version) = grpc_version(&address).await
            {
                let place = format!("{address} ServerMetadata");
                self.grpc = Some((port, place.clone()));
                self.version.get_or_insert((version, place));
            }
        }
    }
}

/// An address of IPv6 as an authority has it.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

async fn page(url: &str) -> Option<String> {
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().user_agent(crate::USER_AGENT);
    let client = client.timeout(PATIENCE).build().ok()?;
    let response = client.get(url).send().await.ok()?;
    let response = response.error_for_status().ok()?;
    response.text().await.ok()
}

async fn http_version(address: &str) -> Option<String> {
    let text = page(&format!("http://{address}/v2")).await?;
    let server: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(named(server["name"].as_str()?, server["version"].as_str()?))
}

async fn grpc_version(address: &str) -> Option<String> {
    let asking = async {
        let url = format!("http://{address}");
        let mut client = GrpcInferenceServiceClient::connect(url).await.ok()?;
        let server = client
            .server_metadata(ServerMetadataRequest {})
            .await
            .ok()?;
        let server = server.into_inner();
        Some(named(&server.name, &server.version))
    };
    timeout(PATIENCE, asking).await.ok().flatten()
}

fn named(name: &str, version: &str) -> String {
    format!("{name} {version}")
}

/// A page of Prometheus metrics.
#[derive(Debug)]
pub(super) struct Metrics(String);

impl Metrics {
    /// The values of a metric, one for each of its label sets.
    pub(super) fn values(&self, name: &str) -> Vec<f64> {
        let of_line = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labels) => labels.rsplit_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse().ok()
        };
        self.0.lines().filter_map(of_line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_by_its_whole_name() {
        let page = "# HELP nv_gpu_memory_used_bytes x\n\
                    nv_gpu_memory_used_bytes{gpu_uuid=\"GPU-1\"} 1048576.000000\n\
                    nv_gpu_memory_used_bytes{gpu_uuid=\"GPU-2\"} 2\n\
                    nv_gpu_memory_used_bytes_more 9\nnv_cpu_utilization 0.5\n";
        let metrics = Metrics(page.to_owned());
        assert_eq!(
            metrics.values("nv_gpu_memory_used_bytes"),
            [1_048_576.0, 2.0]
        );
        assert_eq!(metrics.values("nv_cpu_utilization"), [0.5]);
        assert!(metrics.values("nv_gpu").is_empty());
    }

    #[test]
    fn an_ipv6_address_is_written_in_brackets() {
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("triton"), "triton");
    }
}
