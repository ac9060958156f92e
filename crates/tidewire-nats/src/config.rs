//! Where NATS is, how to be let in, and which stream holds the log.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tidewire_core::limits::DEDUPLICATION_SECONDS_DEFAULT;

/// Bytes of a stream's name: it stands in every subject.
const STREAM_NAME_BYTES_MAX: usize = 32;

/// What a backbone on NATS is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Servers of one cluster; any of them will do, and the others are learned from it.
    pub servers: Vec<ServerUrl>,
    /// What the servers call this process in their lists of connections, as a beginning.
    pub connection_name: String,
    /// How to be let in.
    pub access: Access,
    /// The stream that holds the log.
    pub stream: StreamName,
    /// How the stream is kept, where this process publishes; `None` where it only reads, and waits
    /// for the stream to be there.
    pub keep: Option<StreamSettings>,
}

/// A server's address: `nats://host:4222`, or `tls://host:4222` where encryption is wanted. It
/// holds no user and no password, so that it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(async_nats::ServerAddr);

impl ServerUrl {
    pub(crate) fn address(&self) -> &async_nats::ServerAddr {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "an address such as nats://nats.example.com:4222 is wanted";
        if text.contains('@') {
            return Err("it holds a user or a password, which would be shown wherever the \
                        address is: give them by settings of their own"
                .into());
        }
        let address: async_nats::ServerAddr = text.parse().map_err(|_| wanted)?;
        let (_, rest) = text.split_once("://").unwrap_or(("", text));
        let is_plain = !rest.trim_end_matches('/').contains(['/', '?', '#']);
        if address.host().is_empty() || !["nats", "tls"].contains(&address.scheme()) || !is_plain {
            return Err(wanted.into());
        }
        Ok(Self(address))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = (self.0.scheme(), self.0.host(), self.0.port());
        if host.contains(':') {
            write!(f, "{scheme}://[{}]:{port}", host.trim_matches(['[', ']']))
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// How to be let in. What is `None` is not offered.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Who we are.
    pub login: Option<Login>,
    /// How the connection is encrypted.
    pub tls: Tls,
}

/// Who we are, in one of the ways in which NATS asks.
#[derive(Clone)]
pub enum Login {
    /// A user and a password.
    UserPassword {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that all share.
    Token(String),
    /// A credentials file (`.creds`): a JWT and its key, as `nsc` writes it.
    Credentials(PathBuf),
    /// A file that holds an nkey's seed (`SU…`) on a line of its own.
    Nkey(PathBuf),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserPassword { .. } => "UserPassword",
            Self::Token(_) => "Token",
            Self::Credentials(_) => "Credentials",
            Self::Nkey(_) => "Nkey",
        })
    }
}

/// How the connection is encrypted. A server may ask for it by itself, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether a connection without encryption is refused.
    pub is_required: bool,
    /// PEM file with the certificates of the authorities to believe, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with our own certificate and its key, where the servers ask for one.
    pub certificate_and_key: Option<(PathBuf, PathBuf)>,
}

/// A stream's name: 1 to 32 of `A-Z a-z 0-9 - _`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName(String);

impl StreamName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StreamName {
    fn default() -> Self {
        Self("TIDEWIRE".into())
    }
}

impl FromStr for StreamName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if text.is_empty() || text.len() > STREAM_NAME_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(format!("1 to {STREAM_NAME_BYTES_MAX} of A-Z a-z 0-9 - _ are wanted"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the stream is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// What to do where the stream is missing or otherwise.
    pub policy: StreamPolicy,
    /// On how many servers it lies: 1, 3 or 5.
    pub replicas: usize,
    /// Where it lies on each.
    pub storage: Storage,
    /// Events older than this leave the log.
    pub retention_age: Duration,
    /// The oldest events leave where the log takes more than this many bytes on each server.
    pub retention_bytes: u64,
    /// The oldest events of a topic leave where it has more than this many; `None` is no limit.
    pub retention_topic_events: Option<u64>,
    /// How long a repeated id is recognised.
    pub deduplication_window: Duration,
    /// Whether the files are compressed.
    pub compression: Compression,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            policy: StreamPolicy::Create,
            replicas: 1,
            storage: Storage::File,
            retention_age: Duration::from_secs(24 * 60 * 60),
            retention_bytes: 1024 * 1024 * 1024,
            retention_topic_events: None,
            deduplication_window: Duration::from_secs(DEDUPLICATION_SECONDS_DEFAULT),
            compression: Compression::None,
        }
    }
}

/// What to do where the stream is missing, or is otherwise than the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPolicy {
    /// Make a missing one; say how another differs, and go on.
    Create,
    /// Make a missing one; say how another differs, and stop.
    Verify,
    /// Wait for a missing one; say how it differs, and stop.
    Require,
}

/// Where a stream lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In files.
    File,
    /// In the servers' memory: a restart of all of them loses it.
    Memory,
}

/// Whether a stream's files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it came.
    None,
    /// By S2. Servers before 2.12.12 and 2.14.3 could damage what they had compressed.
    S2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_perhaps_a_port() {
        for (text, shown) in [
            ("nats://nats.example.com", "nats://nats.example.com:4222"),
            ("tls://10.0.0.1:443/", "tls://10.0.0.1:443"),
            ("localhost:4223", "nats://localhost:4223"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), shown);
        }
        for text in
            ["", "nats://", "http://a", "ws://a", "nats://a/b", "nats://a?x=y", "nats://a#b"]
        {
            let refusal = text.parse::<ServerUrl>().unwrap_err();
            assert!(refusal.contains("nats://nats.example.com:4222"), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_server_with_a_secret_in_it_is_refused_without_showing_it() {
        for text in ["nats://u:secret@a", "nats://:secret@a", "nats://secret@a", "u:secret@a"] {
            let refusal = text.parse::<ServerUrl>().unwrap_err();
            assert!(refusal.contains("settings of their own"), "{refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn a_streams_name_can_stand_in_a_subject() {
        assert!("events-2_B".parse::<StreamName>().is_ok());
        for text in ["", "a.b", "a b", "*", ">", "é", &"x".repeat(33)] {
            assert!(text.parse::<StreamName>().is_err(), "{text:?}");
        }
    }
}
