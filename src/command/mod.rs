//! The sub-commands, a file each. Errors are `anyhow`'s here and nowhere else.
