//! Settings as environment variables: `TIDEWIRE_` and the name in capitals.

use std::ffi::OsString;

use clap::Command;

use crate::settings::{knows, unknown};

const PREFIX: &str = "TIDEWIRE_";

/// The file that holds settings is no setting, but has a variable too.
const CONFIG: &str = "config";

/// The variable of a setting.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase())
}

/// Refuses a variable with our prefix that no setting has: a typo must not pass in silence.
pub(super) fn refuse_unknown(
    variables: impl Iterator<Item = (OsString, OsString)>,
    vocabulary: &Command,
) -> Result<(), String> {
    for (name, value) in variables {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let Some(setting) = name.strip_prefix(PREFIX).map(str::to_lowercase) else { continue };
        let is_known = knows(vocabulary, &setting) || setting == CONFIG;
        if is_known && *name == variable(&setting) || is_service_link(&name, &value) {
            continue;
        }
        let what = format!("environment variable '{name}'");
        return Err(unknown(&what, &setting, vocabulary, variable));
    }
    Ok(())
}

/// Whether Kubernetes made the variable: a pod gets `TIDEWIRE_SERVICE_HOST`,
/// `TIDEWIRE_PORT=tcp://…` and more where a service of its namespace is called `tidewire`, or
/// begins so ("Discovering services" in the Kubernetes documentation).
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let of_a_port = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        name.split_once("_PORT_").is_some_and(|(_, rest)| {
            rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(protocol)
        })
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT") && is_url
        || of_a_port
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn refuse(name: &str, value: &str) -> Result<(), String> {
        let vocabulary = Command::new("t").arg(Arg::new("data_dir")).arg(Arg::new("page"));
        refuse_unknown([(name.into(), value.into())].into_iter(), &vocabulary)
    }

    #[test]
    fn knows_its_own_and_leaves_others_alone() {
        for name in ["TIDEWIRE_DATA_DIR", "TIDEWIRE_CONFIG", "PATH", "XTIDEWIRE_X", "tidewire_x"] {
            assert_eq!(refuse(name, "x"), Ok(()));
        }
    }

    #[test]
    fn refuses_what_nobody_would_read() {
        let refusal = refuse("TIDEWIRE_DATA_DRI", "x").unwrap_err();
        assert!(refusal.contains("'TIDEWIRE_DATA_DRI'"), "{refusal}");
        assert!(refusal.contains("'TIDEWIRE_DATA_DIR'"), "{refusal}");
        for name in ["TIDEWIRE_", "TIDEWIRE_data_dir", "TIDEWIRE_PORT", "TIDEWIRE_PORT_X"] {
            assert!(refuse(name, "x").is_err(), "{name}");
        }
    }

    #[test]
    fn a_service_of_the_same_name_beside_it_in_kubernetes_does_no_harm() {
        for (name, value) in [
            ("TIDEWIRE_SERVICE_HOST", "10.0.0.11"),
            ("TIDEWIRE_SERVICE_PORT", "80"),
            ("TIDEWIRE_SERVICE_PORT_HTTP", "80"),
            ("TIDEWIRE_PORT", "tcp://10.0.0.11:80"),
            ("TIDEWIRE_PORT_80_TCP", "tcp://10.0.0.11:80"),
            ("TIDEWIRE_PORT_80_TCP_ADDR", "10.0.0.11"),
            ("TIDEWIRE_EDGE_PORT_80_TCP_PROTO", "tcp"),
        ] {
            assert_eq!(refuse(name, value), Ok(()), "{name}");
        }
    }
}
