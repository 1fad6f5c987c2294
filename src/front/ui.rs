//! The page at `/ui`, on which people try the service (`--enable_ui`): a few files that are compiled in.
//! It speaks the same routes as every other client, and sends nothing to anybody else: its policy
//! forbids that.

use std::sync::LazyLock;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::response;
use crate::error::{Error, Kind};
use crate::transport::Body;

/// Scripts and styles from here alone, and no text is ever taken for HTML.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'",
);

struct Asset {
    content_type: &'static str,
    bytes: &'static [u8],
    /// A hash of the bytes: after an update, browsers take the new file.
    tag: LazyLock<HeaderValue>,
}

macro_rules! asset {
    ($content_type:literal, $file:literal) => {{
        const BYTES: &[u8] = include_bytes!($file);
        Asset {
            content_type: $content_type,
            bytes: BYTES,
            tag: LazyLock::new(|| tag(BYTES)),
        }
    }};
}

static PAGE: Asset = asset!("text/html; charset=utf-8", "ui/index.html");
static STYLE: Asset = asset!("text/css; charset=utf-8", "ui/style.css");
static APP: Asset = asset!("text/javascript; charset=utf-8", "ui/app.js");
static CARD: Asset = asset!("text/javascript; charset=utf-8", "ui/card.js");
static CODE: Asset = asset!("text/javascript; charset=utf-8", "ui/code.js");
static INFER: Asset = asset!("text/javascript; charset=utf-8", "ui/infer.js");
static LIVE: Asset = asset!("text/javascript; charset=utf-8", "ui/live.js");
static MAKE: Asset = asset!("text/javascript; charset=utf-8", "ui/make.js");
static SAMPLE: Asset = asset!("image/jpeg", "../../data/images/astronaut.jpg");

fn tag(bytes: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(bytes);
    let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The page.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ui {
    /// Whether images are turned upright (`--exif_orientation apply`): the page shows them as the
    /// service sees them, since boxes are in those pixels.
    pub(crate) upright: bool,
}

impl Ui {
    /// Routes a request to `/ui/…`; `segments` are the path's parts behind `ui`.
    pub(super) fn route(self, segments: &[&str], head: &Parts) -> Result<Response<Body>, Error> {
        let asset = match segments {
            [] if head.uri.path().ends_with('/') => {
                return response::get(&head.method, || Ok(without_slash()));
            }
            ["settings.json"] => return response::get(&head.method, || response::json(&self)),
            [] => &PAGE,
            ["style.css"] => &STYLE,
            ["app.js"] => &APP,
            ["card.js"] => &CARD,
            ["code.js"] => &CODE,
            ["infer.js"] => &INFER,
            ["live.js"] => &LIVE,
            ["make.js"] => &MAKE,
            ["sample.jpg"] => &SAMPLE,
            _ => return Err(Error::new(Kind::NotFound, "unknown route; the page is /ui")),
        };
        response::get(&head.method, || Ok(respond(asset, &head.headers)))
    }
}

/// To the page's one address, from which the others are counted: also below a proxy's prefix.
fn without_slash() -> Response<Body> {
    let mut response = response::bytes(StatusCode::PERMANENT_REDIRECT, "text/plain", "");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("../ui"));
    response
}

fn respond(asset: &Asset, request: &HeaderMap) -> Response<Body> {
    let known = request.get(IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| names(known, &asset.tag)) {
        response::bytes(StatusCode::NOT_MODIFIED, asset.content_type, "")
    } else {
        response::bytes(StatusCode::OK, asset.content_type, asset.bytes)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, asset.tag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Whether an `If-None-Match` names this tag; a proxy that compresses makes it a weak one.
fn names(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let Ok(known) = known.to_str() else {
        return false;
    };
    let mut known = known.split(',').map(str::trim);
    known.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}
