//! Quoting what others sent. A name or a path in an error may be as long as a whole request, and the
//! text ends in a log line, in a header of gRPC and with the caller.

/// Characters of a quote, escapes included.
const MAX_QUOTE: usize = 64;

/// Bytes of an error's text. gRPC sends it as a header, percent-encoded, which clients limit to 8 KiB.
const MAX_TEXT: usize = 1024;

/// The text in quotation marks, with escapes and without what exceeds 64 characters.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().min(MAX_QUOTE) + 2);
    quoted.push('"');
    let mut length = 0;
    for character in text.chars() {
        let escaped = character.escape_debug();
        length += escaped.len();
        if length > MAX_QUOTE {
            quoted.push('…');
            break;
        }
        quoted.extend(escaped);
    }
    quoted.push('"');
    quoted
}

/// An error's text without what exceeds 1 KiB.
pub(crate) fn truncate(mut text: String) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT - ELLIPSIS.len()));
        text.push_str(ELLIPSIS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_quoted_whole() {
        assert_eq!(quote("größe \"x\"\n"), r#""größe \"x\"\n""#);
        assert_eq!(quote(&"a".repeat(64)), format!("\"{}\"", "a".repeat(64)));
        assert_eq!(truncate("a".repeat(1024)), "a".repeat(1024));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(
            quote(&"a".repeat(1 << 20)),
            format!("\"{}…\"", "a".repeat(64))
        );
        assert!(quote(&"\u{1}".repeat(100)).chars().count() <= MAX_QUOTE + 3);
        for text in ["a".repeat(1025), "é".repeat(1000), "日".repeat(1000)] {
            let cut = truncate(text);
            assert!(cut.len() <= MAX_TEXT && cut.ends_with('…'), "{}", cut.len());
        }
    }
}
