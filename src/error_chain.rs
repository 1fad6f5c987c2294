//! An error and its causes, down to the root. Libraries often name only their own layer ("error
//! sending request"); what a person needs to know is further down.

use std::error::Error;

/// The error itself, then each cause.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An io::Error hides the error it was made of from `source`.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        inner.or_else(|| error.source())
    })
}

/// The first error of a type among an error and its causes.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The text of the last cause.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The texts of an error and its causes, each once: some errors repeat their cause's.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(String::new(), |mut chain, cause| {
        let text = cause.to_string();
        if chain.is_empty() {
            return text;
        }
        if !chain.contains(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        chain
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn io_errors_do_not_hide_their_cause() {
        let error = Outer(io::Error::other(Inner));
        assert!(find::<Inner>(&error).is_some());
        assert_eq!(root_cause(&error), "inner");
        assert_eq!(error_chain(&error), "outer: inner");
    }

    #[test]
    fn an_error_without_cause_is_its_own() {
        assert_eq!(root_cause(&Inner), "inner");
        assert_eq!(error_chain(&Inner), "inner");
    }
}
