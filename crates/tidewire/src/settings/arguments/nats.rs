//! Where NATS is, and how to be let in.

use std::path::PathBuf;

use clap::{ArgAction, Args, builder::NonEmptyStringValueParser};
use tidewire_nats::{Access, Config, Login, ServerUrl, StreamName, StreamSettings, Tls};

use crate::settings::{arguments::path, secret::Secret};

/// Where a NATS server listens that was told nothing else.
const SERVER_DEFAULT: &str = "nats://127.0.0.1:4222";
/// [`StreamName::default`] as it is typed.
const STREAM_DEFAULT: &str = "TIDEWIRE";

/// How NATS is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "NATS")]
pub(crate) struct NatsArgs {
    /// A server of the NATS cluster, such as nats://nats.example.com:4222, or tls://… where
    /// encryption is wanted. Any one will do, and the others are learned from it; name several in
    /// case one is down. Repeat it, or separate several by commas.
    #[arg(long, value_name = "URL", value_delimiter = ',', default_value = SERVER_DEFAULT)]
    pub(crate) nats_url: Vec<ServerUrl>,

    /// The stream that holds the log, the same for every ingest and edge: 1 to 32 of
    /// A-Z a-z 0-9 - _.
    #[arg(long, value_name = "NAME", default_value = STREAM_DEFAULT)]
    pub(crate) nats_stream: StreamName,

    /// The user to log in as, with --nats-password. There are four ways to log in; at most one of
    /// them may be given.
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) nats_user: Option<String>,

    /// The user's password. Give it by the environment or a file: a command line can be read by
    /// everyone on the machine.
    #[arg(long, value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) nats_password: Option<Secret>,

    /// The token to log in with. Give it as a password is given.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) nats_token: Option<Secret>,

    /// The credentials file (.creds) to log in with, as nsc writes it.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) nats_credentials: Option<PathBuf>,

    /// The file with the seed of the nkey to log in with.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) nats_nkey: Option<PathBuf>,

    /// Whether a connection without encryption is refused.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = false,
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub(crate) nats_tls: bool,

    /// A PEM file with the certificates of the authorities to believe, instead of the system's.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) nats_tls_ca: Option<PathBuf>,

    /// A PEM file with our own certificate, where the servers ask for one; with --nats-tls-key.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) nats_tls_certificate: Option<PathBuf>,

    /// A PEM file with the key of our own certificate.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) nats_tls_key: Option<PathBuf>,
}

impl NatsArgs {
    /// Checks what no setting can say alone.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.nats_url.is_empty() {
            return Err("'nats_url' names no server".into());
        }
        let logins = self.logins();
        if logins.len() > 1 {
            let given = logins.join(", ");
            return Err(format!("one way to log in to NATS may be given, and these are: {given}"));
        }
        together("nats_user", &self.nats_user, "nats_password", &self.nats_password)?;
        let (certificate, key) = (&self.nats_tls_certificate, &self.nats_tls_key);
        together("nats_tls_certificate", certificate, "nats_tls_key", key)
    }

    /// The ways to log in that are given, each by the name of its setting.
    fn logins(&self) -> Vec<&'static str> {
        [
            ("'nats_user'", self.nats_user.is_some()),
            ("'nats_token'", self.nats_token.is_some()),
            ("'nats_credentials'", self.nats_credentials.is_some()),
            ("'nats_nkey'", self.nats_nkey.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect()
    }

    /// What the backbone is told. `keep` is how this process keeps the stream, where it does.
    pub(crate) fn config(&self, connection_name: String, keep: Option<StreamSettings>) -> Config {
        let certificate_and_key = self.nats_tls_certificate.clone().zip(self.nats_tls_key.clone());
        Config {
            servers: self.nats_url.clone(),
            connection_name,
            access: Access {
                login: self.login(),
                tls: Tls {
                    is_required: self.nats_tls,
                    ca_file: self.nats_tls_ca.clone(),
                    certificate_and_key,
                },
            },
            stream: self.nats_stream.clone(),
            keep,
        }
    }

    fn login(&self) -> Option<Login> {
        if let (Some(user), Some(password)) = (&self.nats_user, &self.nats_password) {
            let password = password.reveal().to_owned();
            return Some(Login::UserPassword { user: user.clone(), password });
        }
        let token = self.nats_token.as_ref().map(|token| Login::Token(token.reveal().to_owned()));
        token
            .or_else(|| self.nats_credentials.clone().map(Login::Credentials))
            .or_else(|| self.nats_nkey.clone().map(Login::Nkey))
    }

    /// The servers, as people are told of them.
    pub(crate) fn servers(&self) -> String {
        self.nats_url.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// What to type after another command, so that it finds the same stream; with a space before
    /// each flag, and nothing where the defaults do.
    pub(crate) fn place_as_flags(&self) -> String {
        let (servers, stream) = (self.servers(), &self.nats_stream);
        let mut flags = String::new();
        if servers != SERVER_DEFAULT {
            flags += &format!(" --nats-url '{servers}'");
        }
        if stream.as_str() != STREAM_DEFAULT {
            flags += &format!(" --nats-stream {stream}");
        }
        flags
    }

    /// Whether another command needs more than the place to be let in.
    pub(crate) fn has_access_settings(&self) -> bool {
        let files = [&self.nats_tls_ca, &self.nats_tls_certificate];
        !self.logins().is_empty() || self.nats_tls || files.iter().any(|file| file.is_some())
    }
}

/// Two settings that mean nothing without each other.
pub(super) fn together<A, B>(
    one: &str,
    one_given: &Option<A>,
    other: &str,
    other_given: &Option<B>,
) -> Result<(), String> {
    let without = |given: &str, missing: &str| {
        Err(format!("'{given}' is given without '{missing}': the one needs the other"))
    };
    match (one_given, other_given) {
        (Some(_), None) => without(one, other),
        (None, Some(_)) => without(other, one),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        nats: NatsArgs,
    }

    fn typed(flags: &str) -> NatsArgs {
        Typed::try_parse_from(format!("t {flags}").split_whitespace()).unwrap().nats
    }

    #[test]
    fn nothing_is_needed_for_a_server_on_this_machine() {
        let nats = typed("");
        nats.check().unwrap();
        let config = nats.config("us".into(), None);
        assert_eq!(config.servers, [SERVER_DEFAULT.parse().unwrap()]);
        assert_eq!(config.stream, StreamName::default());
        assert_eq!(config.access.tls, Tls::default());
        assert!(config.access.login.is_none());
        assert_eq!((nats.place_as_flags(), nats.has_access_settings()), (String::new(), false));
    }

    #[test]
    fn each_way_to_log_in_is_passed_on_as_it_is() {
        let login = |flags: &str| {
            let nats = typed(flags);
            nats.check().unwrap();
            assert!(nats.has_access_settings());
            nats.config("us".into(), None).access.login.unwrap()
        };
        assert!(matches!(
            login("--nats-user ann --nats-password hunter2"),
            Login::UserPassword { user, password } if user == "ann" && password == "hunter2"
        ));
        assert!(matches!(login("--nats-token t0k3n"), Login::Token(token) if token == "t0k3n"));
        assert!(matches!(
            login("--nats-credentials a.creds"),
            Login::Credentials(file) if file.as_os_str() == "a.creds"
        ));
        assert!(matches!(
            login("--nats-nkey a.nk"),
            Login::Nkey(file) if file.as_os_str() == "a.nk"
        ));
    }

    #[test]
    fn tls_is_passed_on_as_it_is() {
        let flags = "--nats-tls-ca ca --nats-tls-certificate c --nats-tls-key k --nats-tls";
        let tls = typed(flags).config("us".into(), None).access.tls;
        let certificate_and_key = Some(("c".into(), "k".into()));
        let wanted = Tls { is_required: true, ca_file: Some("ca".into()), certificate_and_key };
        assert_eq!(tls, wanted);
        assert!(!typed("--nats-tls false").nats_tls);
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (flags, names) in [
            ("--nats-user a --nats-password b --nats-token c", ["nats_user", "nats_token"]),
            ("--nats-credentials a --nats-nkey b", ["nats_credentials", "nats_nkey"]),
            ("--nats-user a", ["'nats_user' is", "without 'nats_password'"]),
            ("--nats-password b", ["'nats_password' is", "without 'nats_user'"]),
            ("--nats-tls-key k", ["'nats_tls_key' is", "without 'nats_tls_certificate'"]),
            ("--nats-tls-certificate k", ["'nats_tls_certificate' is", "without 'nats_tls_key'"]),
        ] {
            let refusal = typed(flags).check().unwrap_err();
            assert!(names.iter().all(|name| refusal.contains(name)), "{flags}: {refusal}");
        }
    }

    #[test]
    fn a_secret_is_not_in_what_is_printed_of_its_settings() {
        let shown = format!("{:?}", typed("--nats-user a --nats-password hunter2"));
        assert!(shown.contains("nats_password") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn another_command_is_told_the_same_place() {
        let nats = typed("--nats-url nats://a:4222,nats://b:4223 --nats-stream OTHER");
        let flags = nats.place_as_flags();
        assert_eq!(flags, " --nats-url 'nats://a:4222,nats://b:4223' --nats-stream OTHER");
    }
}
