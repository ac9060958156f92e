//! How streams come to their clients: over TLS or in the clear, over HTTP/1.1 or HTTP/2.

use serde::{Deserialize, Serialize};

use super::Peer;

/// Streams that share a connection where several do.
pub(crate) const SHARED_STREAMS: u64 = 100;

/// A way other than plain HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transport {
    pub(crate) is_encrypted: bool,
    /// Streams of each connection of HTTP/2; `None` over HTTP/1.1, where a connection has one.
    pub(crate) http2_streams: Option<u64>,
}

impl Peer {
    /// How its streams come; `None` for plain HTTP/1.1.
    pub(crate) fn transport(self) -> Option<Transport> {
        let (is_encrypted, http2_streams) = match self {
            Self::TidewireTls => (true, None),
            Self::TidewireHttp2 => (true, Some(1)),
            Self::TidewireHttp2Shared => (true, Some(SHARED_STREAMS)),
            Self::TidewireH2c => (false, Some(1)),
            Self::TidewireH2cShared => (false, Some(SHARED_STREAMS)),
            _ => return None,
        };
        Some(Transport { is_encrypted, http2_streams })
    }

    /// Flags of a hub of this kind, but for its certificate.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::TidewireGzip => &["--compression", "gzip"],
            Self::TidewireHyper => &["--lean-streams", "false"],
            Self::TidewireUncounted => &["--metrics", "false"],
            _ => &[],
        }
    }

    /// What a hub of this kind is called.
    pub(super) fn hub_name(self) -> &'static str {
        match self {
            Self::TidewireGzip => "tidewire, gzip",
            Self::TidewireHyper => "tidewire, HTTP/1.1 by hyper",
            Self::TidewireUncounted => "tidewire, uncounted",
            Self::TidewireTls => "tidewire, HTTP/1.1 over TLS",
            Self::TidewireHttp2 => "tidewire, HTTP/2 over TLS",
            Self::TidewireHttp2Shared => "tidewire, HTTP/2 over TLS, 100 streams a connection",
            Self::TidewireH2c => "tidewire, HTTP/2 in the clear",
            Self::TidewireH2cShared => "tidewire, HTTP/2 in the clear, 100 streams a connection",
            _ => "tidewire",
        }
    }
}
