//! What the binary says to people on its two outputs, other than logs.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Writes a line to standard output.
///
/// # Errors
/// Whatever the system says, [`io::ErrorKind::BrokenPipe`] where nobody reads any longer.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes a line to standard error, beside the results. Where that fails there is nobody to tell.
pub(crate) fn note(text: impl Display) {
    let _unread = writeln!(io::stderr().lock(), "{text}");
}

/// Says why the process ends, with everything that led to it.
pub(crate) fn failure(error: &anyhow::Error) {
    note(format_args!("error: {error:#}"));
}
