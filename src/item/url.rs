//! `http(s)://…` to bytes, from public addresses only.
//!
//! The check is made where the connection is made: names are resolved by a resolver that leaves out
//! every address that is not allowed, and addresses written in a URL are checked as the URL parser
//! reads them (so that `http://2130706433/` is 127.0.0.1), for the first URL and each redirect.
//!
//! Error texts name the host at most: a URL's path, query and user are the caller's secret.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::{Client, Response, Url, redirect};
use tokio::time::{Instant, timeout, timeout_at};

use super::allow::{AllowRule, is_allowed_address};
use super::blocked::{Blocked, MAX_REDIRECTS, display_host};
use super::resolver::{FilteringResolver, SystemNames};
use super::{Error, ErrorKind, UrlProxy, data_uri};
use crate::error_chain::{find, root_cause};

/// Idle connections to a host that are kept for its next image.
const IDLE_PER_HOST: usize = 8;

/// Fetches URLs.
#[derive(Debug)]
pub(super) struct UrlFetcher {
    client: Client,
    allow: Arc<[AllowRule]>,
    proxied: bool,
    timeout: Duration,
}

/// A response whose body has not been read yet.
#[derive(Debug)]
pub(super) struct PendingResponse {
    response: Response,
    host: String,
    /// What is left of `--item_url_timeout_ms`.
    time_left: Duration,
}

impl UrlFetcher {
    /// A client that resolves names as the system does, or lets the proxy do it.
    pub(super) fn new(
        allow: &[AllowRule],
        proxy: Option<&UrlProxy>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let names = SystemNames::new(tokio::net::lookup_host);
        Self::resolving(Arc::new(names), allow, proxy, timeout)
    }

    fn resolving(
        names: Arc<dyn Resolve>,
        allow: &[AllowRule],
        proxy: Option<&UrlProxy>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allow: Arc<[AllowRule]> = allow.into();
        // Behind a proxy its name is the only one that is resolved here.
        let resolved: Arc<[AllowRule]> = match proxy {
            Some(proxy) => [AllowRule::Host(proxy.host().to_owned())].into(),
            None => Arc::clone(&allow),
        };
        let to_client = proxy.map(UrlProxy::to_client).transpose()?;
        let build = |client: reqwest::ClientBuilder| {
            let client = match &to_client {
                Some(proxy) => client.proxy(proxy.clone()),
                // Not even one that the environment names.
                None => client.no_proxy(),
            };
            client
                .referer(false)
                .user_agent(crate::USER_AGENT)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .redirect(redirect_policy(Arc::clone(&allow)))
                .dns_resolver(FilteringResolver {
                    names: Arc::clone(&names),
                    allow: Arc::clone(&resolved),
                })
                .build()
        };
        let client = build(Client::builder()).or_else(|error| {
            // A container without root certificates can still fetch http: items.
            let error = root_cause(&error);
            tracing::warn!(error, "no root certificates: https: items will fail");
            build(Client::builder().tls_certs_only([]))
        });
        let client = client.map_err(|error| {
            let why = root_cause(&error);
            Error::new(
                ErrorKind::Internal,
                format!("cannot create the HTTP client of http(s): items: {why}"),
            )
        })?;
        Ok(Self {
            client,
            allow,
            proxied: proxy.is_some(),
            timeout,
        })
    }

    /// Requests the URL and returns the response once its head is good: a success of at most
    /// `max_bytes`.
    pub(super) async fn get(&self, url: &str, max_bytes: usize) -> Result<PendingResponse, Error> {
        let url = Url::parse(url)
            .map_err(|error| Error::refused(format!("the item's URL is malformed: {error}")))?;
        // The client parses URLs once more, with a limit that it has no error for.
        if let Err(error) = url.as_str().parse::<::http::Uri>() {
            return Err(Error::refused(format!(
                "the item's URL is malformed: {error}"
            )));
        }
        let host = display_host(&url);
        check_literal(&url, &self.allow).map_err(Error::from)?;
        let deadline = Instant::now() + self.timeout;
        let sent = timeout_at(deadline, self.client.get(url).send()).await;
        let response = match sent {
            Ok(sent) => sent.map_err(|error| self.map_error(&host, error))?,
            Err(_) => return Err(self.timed_out(&host)),
        };
        let host = display_host(response.url());
        let status = response.status();
        if !status.is_success() {
            let status = status.as_u16();
            return Err(unreachable(&host, format_args!("responded with {status}")));
        }
        if let Some(length) = response.content_length() {
            data_uri::check_length(usize::try_from(length).unwrap_or(usize::MAX), max_bytes)?;
        }
        Ok(PendingResponse {
            response,
            host,
            time_left: deadline - Instant::now(),
        })
    }

    /// The response's body, at most `max_bytes`. The time between `get` and this call is not counted
    /// against the host.
    pub(super) async fn read(
        &self,
        pending: PendingResponse,
        max_bytes: usize,
    ) -> Result<Vec<u8>, Error> {
        let PendingResponse {
            mut response,
            host,
            time_left,
        } = pending;
        let mut bytes = Vec::with_capacity(length_of(&response).unwrap_or(0).min(max_bytes));
        let reading = async {
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|_| unreachable(&host, "closed the connection within its response"))?
            {
                data_uri::check_length(bytes.len() + chunk.len(), max_bytes)?;
                bytes.extend_from_slice(&chunk);
            }
            Ok::<(), Error>(())
        };
        match timeout(time_left, reading).await {
            Ok(read) => read?,
            Err(_) => return Err(self.timed_out(&host)),
        }
        if bytes.is_empty() {
            return Err(unreachable(&host, "responded with an empty body"));
        }
        Ok(bytes)
    }

    fn timed_out(&self, host: &str) -> Error {
        let limit = self.timeout.as_millis();
        unreachable(
            host,
            format_args!("did not respond within {limit} ms (--item_url_timeout_ms)"),
        )
    }

    /// What a failed request means, without the URL that the library would print. It names the first
    /// host, although the failure may be that of a host it redirected to.
    fn map_error(&self, host: &str, error: reqwest::Error) -> Error {
        if let Some(blocked) = find::<Blocked>(&error) {
            return blocked.clone().into();
        }
        if error.is_redirect() || error.is_builder() {
            return unreachable(host, "redirects to a URL that is not http(s)");
        }
        if error.is_timeout() {
            return self.timed_out(host);
        }
        if self.proxied && error.is_connect() {
            return unreachable(host, "cannot be reached through --item_url_proxy");
        }
        if let Some(tls) = find::<rustls::Error>(&error) {
            return unreachable(host, format_args!("failed the TLS handshake: {tls}"));
        }
        match find::<std::io::Error>(&error).map(std::io::Error::kind) {
            _ if error.is_dns() => unreachable(host, "cannot be resolved"),
            Some(kind) => unreachable(host, format_args!("failed: {kind}")),
            None => unreachable(host, "closed the connection before its response"),
        }
    }
}

impl PendingResponse {
    /// The length that the host announced, in bytes.
    pub(super) fn length(&self) -> Option<usize> {
        length_of(&self.response)
    }
}

fn length_of(response: &Response) -> Option<usize> {
    response
        .content_length()
        .and_then(|length| usize::try_from(length).ok())
}

fn redirect_policy(allow: Arc<[AllowRule]>) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let previous = attempt.previous();
        if previous.len() > MAX_REDIRECTS {
            let host = previous.last().map(display_host).unwrap_or_default();
            return attempt.error(Blocked::Redirects(host));
        }
        match check_literal(attempt.url(), &allow) {
            Ok(()) => attempt.follow(),
            Err(blocked) => attempt.error(blocked),
        }
    })
}

/// Checks a host that is written as an address; names are checked when they are resolved.
fn check_literal(url: &Url, allow: &[AllowRule]) -> Result<(), Blocked> {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) if !is_allowed_address(address, allow) => {
            Err(Blocked::NotPublic(display_host(url)))
        }
        _ => Ok(()),
    }
}

fn unreachable(host: &str, what: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("the item's host {host} {what}"),
    )
}

#[cfg(test)]
mod tests;
