//! The one place that prints.
#![expect(clippy::print_stdout, reason = "results are this program's purpose")]

/// Prints a line of results.
pub(crate) fn line(text: impl std::fmt::Display) {
    println!("{text}");
}
