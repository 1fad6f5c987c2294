//! The HTTP proxy that items are fetched through (`--item_url_proxy`).

use std::fmt;

use reqwest::Url;

use super::{Error, ErrorKind};

/// A proxy. Its user and password appear in no output.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlProxy(Url);

impl UrlProxy {
    /// Parses `http://[USER:PASSWORD@]HOST[:PORT]`.
    ///
    /// # Errors
    ///
    /// When it is something else; the text does not quote it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Url::parse(text.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .filter(|url| matches!(url.path(), "" | "/") && url.query().is_none())
            .map(Self)
            .ok_or_else(|| Error::refused("expected http://[USER:PASSWORD@]HOST[:PORT]"))
    }

    /// The name or address that is connected to.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub(super) fn to_client(&self) -> Result<reqwest::Proxy, Error> {
        reqwest::Proxy::all(self.0.clone()).map_err(|_| {
            let text = "cannot use the proxy of --item_url_proxy";
            Error::new(ErrorKind::Internal, text)
        })
    }
}

impl fmt::Display for UrlProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if self.0.username().is_empty() && self.0.password().is_none() {
            ""
        } else {
            "***@"
        };
        write!(f, "{}://{secret}{}", self.0.scheme(), self.host())?;
        match self.0.port_or_known_default() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for UrlProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_masked() {
        let proxy = UrlProxy::parse("http://user:secret@proxy:3128").unwrap();
        assert_eq!(proxy.to_string(), "http://***@proxy:3128");
        assert_eq!(format!("{proxy:?}"), "http://***@proxy:3128");
        let proxy = UrlProxy::parse("http://10.0.0.1").unwrap();
        assert_eq!(proxy.to_string(), "http://10.0.0.1:80");
    }

    #[test]
    fn other_forms_are_invalid() {
        for text in [
            "",
            "proxy:3128",
            "socks5://proxy",
            "http://",
            "http://proxy/secret",
        ] {
            let error = UrlProxy::parse(text).unwrap_err().to_string();
            assert!(error.contains("expected http://"), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
