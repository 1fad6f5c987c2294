//! `http(s)://…` to bytes, from public addresses only.
//!
//! The check stands where the connection is made: names are resolved by a resolver that leaves out
//! every address it may not lead to, and addresses written in a URL are checked as the URL parser
//! reads them (so that `http://2130706433/` is 127.0.0.1), for the first URL and each redirect.
//!
//! Texts of errors name the host at most: a URL's path, query and user are the caller's secret.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, Url, redirect};
use tokio::time::{Instant, timeout, timeout_at};

use super::allow::{Allow, is_allowed_address, is_allowed_host};
use super::{Error, ErrorKind, data_uri};

/// Redirects followed for one item.
const MAX_REDIRECTS: usize = 3;
/// Connections to a host that are kept for its next image.
const IDLE_PER_HOST: usize = 8;
/// How much of a host's name an error shows.
const HOST_CHARS: usize = 100;

/// Fetches URLs.
#[derive(Debug)]
pub(super) struct Urls {
    client: Client,
    allow: Arc<[Allow]>,
    timeout: Duration,
}

/// An answer whose bytes have not been read yet.
#[derive(Debug)]
pub(super) struct Answer {
    response: Response,
    host: String,
    /// Of `--item_url_timeout_ms`.
    time_left: Duration,
}

impl Urls {
    /// A client that resolves names as the system does.
    pub(super) fn new(allow: &[Allow], timeout: Duration) -> Result<Self, Error> {
        Self::resolving(Arc::new(SystemNames), allow, timeout)
    }

    fn resolving(
        names: Arc<dyn Resolve>,
        allow: &[Allow],
        timeout: Duration,
    ) -> Result<Self, Error> {
        // Err when there is one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allow: Arc<[Allow]> = allow.into();
        let build = |client: reqwest::ClientBuilder| {
            let allow = Arc::clone(&allow);
            let names = Arc::clone(&names);
            client
                .no_proxy()
                .referer(false)
                .user_agent(concat!(
                    env!("CARGO_PKG_NAME"),
                    "/",
                    env!("CARGO_PKG_VERSION")
                ))
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .redirect(policy(Arc::clone(&allow)))
                .dns_resolver(Permitted { names, allow })
                .build()
        };
        let client = build(Client::builder()).or_else(|error| {
            // A container without root certificates can still fetch http: items.
            let error = deepest(&error);
            tracing::warn!(error, "no root certificates: https: items will fail");
            build(Client::builder().tls_certs_only([]))
        });
        let client = client.map_err(|error| {
            let why = deepest(&error);
            Error::new(
                ErrorKind::Internal,
                format!("the client of http(s): items cannot start: {why}"),
            )
        })?;
        Ok(Self {
            client,
            allow,
            timeout,
        })
    }

    /// Asks for the URL, and gives the answer once its head is good: a success of at most
    /// `max_bytes`.
    pub(super) async fn get(&self, url: &str, max_bytes: usize) -> Result<Answer, Error> {
        let url = Url::parse(url)
            .map_err(|error| Error::refused(format!("the item's URL is malformed: {error}")))?;
        // The client's own type for URLs has a limit of its own, and the client no error for it.
        if let Err(error) = url.as_str().parse::<::http::Uri>() {
            return Err(Error::refused(format!(
                "the item's URL is malformed: {error}"
            )));
        }
        let host = shown(&url);
        check_literal(&url, &self.allow).map_err(Error::from)?;
        let deadline = Instant::now() + self.timeout;
        let sent = timeout_at(deadline, self.client.get(url).send()).await;
        let response = match sent {
            Ok(sent) => sent.map_err(|error| self.told(&host, error))?,
            Err(_) => return Err(self.too_slow(&host)),
        };
        let host = shown(response.url());
        let status = response.status();
        if !status.is_success() {
            let status = status.as_u16();
            return Err(unreachable(&host, format_args!("answered {status}")));
        }
        if let Some(length) = response.content_length() {
            data_uri::check_length(usize::try_from(length).unwrap_or(usize::MAX), max_bytes)?;
        }
        Ok(Answer {
            response,
            host,
            time_left: deadline - Instant::now(),
        })
    }

    /// The answer's bytes, at most `max_bytes`. What the caller let pass before asking for them is
    /// not held against the host.
    pub(super) async fn read(&self, answer: Answer, max_bytes: usize) -> Result<Vec<u8>, Error> {
        let Answer {
            mut response,
            host,
            time_left,
        } = answer;
        let mut bytes = Vec::with_capacity(length_of(&response).unwrap_or(0).min(max_bytes));
        let reading = async {
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|_| unreachable(&host, "broke off in the middle of its answer"))?
            {
                data_uri::check_length(bytes.len() + chunk.len(), max_bytes)?;
                bytes.extend_from_slice(&chunk);
            }
            Ok::<(), Error>(())
        };
        match timeout(time_left, reading).await {
            Ok(read) => read?,
            Err(_) => return Err(self.too_slow(&host)),
        }
        if bytes.is_empty() {
            return Err(unreachable(&host, "answered with an empty body"));
        }
        Ok(bytes)
    }

    fn too_slow(&self, host: &str) -> Error {
        let limit = self.timeout.as_millis();
        unreachable(
            host,
            format_args!("did not answer within {limit} ms (--item_url_timeout_ms)"),
        )
    }

    /// What a failed request means, without the URL that the library would print. It names the first
    /// host; the failure may be that of one it redirected to.
    fn told(&self, host: &str, error: reqwest::Error) -> Error {
        if let Some(stop) = find::<Stop>(&error) {
            return stop.clone().into();
        }
        if error.is_redirect() || error.is_builder() {
            return unreachable(host, "redirects to what is not http(s)");
        }
        if error.is_timeout() {
            return self.too_slow(host);
        }
        if let Some(tls) = find::<rustls::Error>(&error) {
            return unreachable(host, format_args!("failed the TLS handshake: {tls}"));
        }
        match find::<std::io::Error>(&error).map(std::io::Error::kind) {
            _ if error.is_dns() => unreachable(host, "has no address that could be found"),
            Some(kind) => unreachable(host, format_args!("failed: {kind}")),
            None => unreachable(host, "broke off before its answer"),
        }
    }
}

impl Answer {
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

/// Why we stopped a request ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// The host's address is not public.
    NotPublic(String),
    /// The host sent us on once too often.
    Redirects(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic(host) => write!(
                f,
                "the item's host {host} is not a public address; --item_url_allow opens others"
            ),
            Self::Redirects(host) => write!(
                f,
                "the item's host {host} redirects once more after {MAX_REDIRECTS} redirects"
            ),
        }
    }
}

impl StdError for Stop {}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        let cause = match stop {
            Stop::NotPublic(_) => ErrorKind::Refused,
            Stop::Redirects(_) => ErrorKind::Unreachable,
        };
        Self::new(cause, stop.to_string())
    }
}

fn policy(allow: Arc<[Allow]>) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let previous = attempt.previous();
        if previous.len() > MAX_REDIRECTS {
            let host = previous.last().map(shown).unwrap_or_default();
            return attempt.error(Stop::Redirects(host));
        }
        match check_literal(attempt.url(), &allow) {
            Ok(()) => attempt.follow(),
            Err(stop) => attempt.error(stop),
        }
    })
}

/// Checks a host that is written as an address; names are checked when they are resolved.
fn check_literal(url: &Url, allow: &[Allow]) -> Result<(), Stop> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) if !is_allowed_address(address, allow) => Err(Stop::NotPublic(shown(url))),
        _ => Ok(()),
    }
}

/// Resolves names to those of their addresses that may be connected to.
struct Permitted {
    names: Arc<dyn Resolve>,
    allow: Arc<[Allow]>,
}

impl Resolve for Permitted {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let addresses = self.names.resolve(name);
        if is_allowed_host(&host, &self.allow) {
            return addresses;
        }
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let mut permitted = addresses
                .await?
                .filter(move |address| is_allowed_address(address.ip(), &allow))
                .peekable();
            if permitted.peek().is_none() {
                return Err(Stop::NotPublic(shortened(&host)).into());
            }
            Ok(Box::new(permitted) as Addrs)
        })
    }
}

/// Names as the operating system resolves them.
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Port 0: the client puts the URL's in its place.
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn unreachable(host: &str, what: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("the item's host {host} {what}"),
    )
}

/// A URL as errors show it: the host, and the port if it is not the usual one.
fn shown(url: &Url) -> String {
    let host = shortened(url.host_str().unwrap_or_default());
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

fn shortened(host: &str) -> String {
    host.chars().take(HOST_CHARS).collect()
}

/// The first error of this type on the way down to the cause.
fn find<E: StdError + 'static>(error: &reqwest::Error) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The text of the cause of all.
fn deepest(error: &reqwest::Error) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&cause| {
        // An io::Error hides the error it was made of from `source`.
        let inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        inner.or_else(|| cause.source())
    })
}

#[cfg(test)]
mod tests;
