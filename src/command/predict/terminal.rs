//! Images in a terminal, by the protocols of kitty and of iTerm2.

use std::io::{self, IsTerminal, Write};

use base64_simd::STANDARD;

/// Bytes of base64 in one message of kitty's protocol at most.
const CHUNK: usize = 4096;

/// How the terminal takes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Graphics {
    /// kitty's graphics protocol; Ghostty has it, too.
    Kitty,
    /// iTerm2's inline images; WezTerm has them, too.
    Iterm2,
}

impl Graphics {
    /// What the terminal behind standard output takes, if it is one that takes images.
    pub(super) fn of_standard_output() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        Self::of(|name| std::env::var(name).unwrap_or_default())
    }

    /// By what terminals say of themselves in the environment.
    fn of(variable: impl Fn(&str) -> String) -> Option<Self> {
        // A multiplexer says what it runs in, but does not let images through.
        if !variable("TMUX").is_empty() || variable("TERM").starts_with("screen") {
            return None;
        }
        let program = variable("TERM_PROGRAM");
        if variable("TERM") == "xterm-kitty" || program == "ghostty" {
            return Some(Self::Kitty);
        }
        let iterm2 = ["iTerm.app", "WezTerm"].contains(&program.as_str());
        (iterm2 || variable("LC_TERMINAL") == "iTerm2").then_some(Self::Iterm2)
    }

    /// Writes a PNG and a line break.
    pub(super) fn show(self, out: &mut impl Write, png: &[u8]) -> io::Result<()> {
        let base64 = STANDARD.encode_to_string(png);
        match self {
            Self::Kitty => {
                let chunks = base64.as_bytes().chunks(CHUNK);
                let last = chunks.len().saturating_sub(1);
                for (index, chunk) in chunks.enumerate() {
                    // a=T: show; f=100: PNG; q=2: no answers, which nobody would read.
                    let keys = if index == 0 { "a=T,f=100,q=2," } else { "" };
                    let more = u8::from(index < last);
                    write!(out, "\x1b_G{keys}m={more};")?;
                    out.write_all(chunk)?;
                    out.write_all(b"\x1b\\")?;
                }
            }
            Self::Iterm2 => {
                let size = png.len();
                write!(out, "\x1b]1337;File=inline=1;size={size}:{base64}\x07")?;
            }
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<Graphics> {
        Graphics::of(|name| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map_or_else(String::new, |(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn terminals_are_known_by_their_variables() {
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Some(Graphics::Kitty));
        assert_eq!(of(&[("TERM_PROGRAM", "ghostty")]), Some(Graphics::Kitty));
        assert_eq!(of(&[("TERM_PROGRAM", "WezTerm")]), Some(Graphics::Iterm2));
        assert_eq!(of(&[("LC_TERMINAL", "iTerm2")]), Some(Graphics::Iterm2));
        assert_eq!(of(&[("TERM", "xterm-256color")]), None);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/t")]), None);
    }

    #[test]
    fn kittys_messages_hold_the_image_in_chunks() {
        let png: Vec<u8> = (0..7000u32).map(|value| value as u8).collect();
        let mut out = Vec::new();
        Graphics::Kitty.show(&mut out, &png).unwrap();
        let text = String::from_utf8(out).unwrap();
        let messages: Vec<_> = text.trim_end().split_terminator("\x1b\\").collect();
        assert_eq!(messages.len(), 3);
        assert!(messages[0].starts_with("\x1b_Ga=T,f=100,q=2,m=1;"));
        assert!(messages[1].starts_with("\x1b_Gm=1;") && messages[2].starts_with("\x1b_Gm=0;"));
        let base64: String = messages
            .iter()
            .filter_map(|message| message.split_once(';'))
            .map(|(_, data)| data)
            .collect();
        assert_eq!(STANDARD.decode_to_vec(base64).unwrap(), png);
    }

    #[test]
    fn iterm2_gets_one_message() {
        let mut out = Vec::new();
        Graphics::Iterm2.show(&mut out, b"PNG").unwrap();
        assert_eq!(out, b"\x1b]1337;File=inline=1;size=3:UE5H\x07\n");
    }
}
