//! Which lines are logged: said at the start, and changed while the process runs.

use tracing::info;
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::LevelFilter,
    reload::{self, Handle},
};

const WANTED: &str = "error, warn, info, debug or trace is wanted, or one for each part, such as \
                      info,tidewire_edge=debug";

/// The filter of the process's log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogFilter(Handle<EnvFilter, Registry>);

impl LogFilter {
    /// A filter, and what it is changed by.
    ///
    /// # Errors
    /// See [`parse`].
    pub(crate) fn new(text: &str) -> Result<(reload::Layer<EnvFilter, Registry>, Self), String> {
        let (layer, handle) = reload::Layer::new(parse(text)?);
        Ok((layer, Self(handle)))
    }

    /// What is in force.
    pub(crate) fn shown(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Logs by another filter from now on. That it did is logged by the one, or else by the other.
    ///
    /// # Errors
    /// See [`parse`].
    pub(crate) fn change(&self, text: &str) -> Result<(), String> {
        let filter = parse(text)?;
        let (before, after) = (self.shown(), filter.to_string());
        info!(before, after, "the log filter is changed");
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Reads a filter in the syntax of `RUST_LOG`.
///
/// # Errors
/// What of it is wrong, and what is wanted.
pub(crate) fn parse(text: &str) -> Result<EnvFilter, String> {
    // A word that is no level would be taken for the name of a part, and mute everything.
    let names_level = |part: &&str| {
        let level = part.rsplit('=').next().unwrap_or_default();
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    };
    if let Some(wrong) = text.split(',').find(|part| !names_level(part)) {
        return Err(format!("'{}' names no level: {WANTED}", wrong));
    }
    EnvFilter::builder().parse(text).map_err(|error| format!("{error}: {WANTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_is_checked_before_anything_starts() {
        for text in ["info", "warn,tidewire_edge=debug", "off"] {
            assert!(parse(text).is_ok(), "{text:?}");
        }
        for (text, wrong) in [
            ("", "''"),
            ("inof", "'inof'"),
            ("tidewire", "'tidewire'"),
            ("info,tidewire=loud", "'tidewire=loud'"),
            ("info,==", "'=='"),
            ("info, warn", "' warn'"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.starts_with(wrong) && fault.contains(WANTED), "{text:?}: {fault}");
        }
    }

    #[test]
    fn what_is_shown_is_what_is_in_force() {
        let (_layer, filter) = LogFilter::new("info,async_nats=off").unwrap();
        assert_eq!(filter.shown(), "async_nats=off,info");
        filter.change("warn").unwrap();
        assert_eq!(filter.shown(), "warn");
        assert!(filter.change("loud").is_err());
        assert_eq!(filter.shown(), "warn");
    }
}
