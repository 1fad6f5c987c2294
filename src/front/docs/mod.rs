//! `/openapi.json`, and `/docs`, a page that renders it: compiled in, without anything from elsewhere.

use http::Response;
use http::request::Parts;

use super::embedded_file::{EmbeddedFile, without_slash};
use super::{openapi, response};
use crate::engine::Engine;
use crate::error::Error;
use crate::oip::OpenInference;
use crate::transport::Body;

/// The document and the page.
pub(super) struct Docs {
    /// Whether the page is served, too (`--enable_ui`).
    with_page: bool,
    document: EmbeddedFile,
    page: EmbeddedFile,
    script: EmbeddedFile,
    style: EmbeddedFile,
}

impl Docs {
    /// Those of the models of `engine`.
    ///
    /// # Errors
    ///
    /// When the document cannot be written: a defect.
    pub(super) fn new(
        engine: &Engine,
        oip: &OpenInference,
        with_page: bool,
    ) -> Result<Self, Error> {
        let document = openapi::document(engine, oip)?.to_string();
        Ok(Self {
            with_page,
            document: EmbeddedFile::new("application/json", document),
            page: EmbeddedFile::new("text/html; charset=utf-8", include_str!("docs.html")),
            script: EmbeddedFile::new("text/javascript; charset=utf-8", include_str!("docs.js")),
            style: EmbeddedFile::new("text/css; charset=utf-8", include_str!("docs.css")),
        })
    }

    /// The response, if the path, in its segments, is one of these.
    pub(super) fn route(
        &self,
        segments: &[&str],
        head: &Parts,
    ) -> Option<Result<Response<Body>, Error>> {
        Some(match segments {
            ["openapi.json"] => self.document.respond(head),
            // What the page refers to lies beside it.
            ["docs", ..] if !self.with_page => return None,
            ["docs"] if head.uri.path().ends_with('/') => {
                response::get(&head.method, || Ok(without_slash("../docs")))
            }
            ["docs"] => self.page.respond(head),
            ["docs", "docs.js"] => self.script.respond(head),
            ["docs", "docs.css"] => self.style.respond(head),
            _ => return None,
        })
    }
}
