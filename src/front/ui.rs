//! The page at `/ui`, on which people try the service (`--enable_ui`): a few files that are compiled in.
//! It speaks the same routes as every other client, and sends nothing to anybody else: its policy
//! forbids that.

use std::sync::LazyLock;

use http::Response;
use http::request::Parts;
use serde::Serialize;

use super::embedded_file::{EmbeddedFile, without_slash};
use super::response;
use crate::error::{Error, Kind};
use crate::transport::Body;

/// A file that is hashed when it is first asked for.
type Asset = LazyLock<EmbeddedFile>;

macro_rules! asset {
    ($content_type:literal, $file:literal) => {
        LazyLock::new(|| EmbeddedFile::new($content_type, &include_bytes!($file)[..]))
    };
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
                return response::get(&head.method, || Ok(without_slash("../ui")));
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
        asset.respond(head)
    }
}
