//! How a stream's bytes are coded on their way: as they are, or by gzip.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};

use crate::{
    gzip::{self, Check},
    metrics,
};

/// The content coding of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Coding {
    /// None.
    #[default]
    Identity,
    /// gzip (RFC 1952), in blocks that are made once for all clients.
    Gzip,
}

impl Coding {
    /// What a client would rather have, by its `Accept-Encoding` (RFC 9110, section 12.5.3).
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
        let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
        let weight = |names: &[&str]| {
            let mut codings = lines.iter().flat_map(|line| line.split(',')).map(named);
            codings.find(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)))
        };
        let weight = |names| weight(names).map(|(_, weight)| weight);
        let gzip = weight(&["gzip", "x-gzip"]).or_else(|| weight(&["*"])).unwrap_or(0.0);
        // What is not named is acceptable, and no more.
        let identity = weight(&["identity"]).unwrap_or(0.0);
        if gzip > 0.0 && gzip >= identity { Self::Gzip } else { Self::Identity }
    }

    /// Codes what stands alone in a stream.
    pub(crate) fn encode(self, plain: Bytes) -> Coded {
        match self {
            Self::Identity => Coded::identity(plain),
            Self::Gzip => {
                let bytes = gzip::block(&plain);
                metrics::count_gzip(plain.len(), bytes.len());
                Coded { bytes, check: Check::of(&plain) }
            }
        }
    }

    /// What stands before everything.
    pub(crate) fn head(self) -> Coded {
        match self {
            Self::Identity => Coded::default(),
            Self::Gzip => Coded::identity(Bytes::from_static(&gzip::HEADER)),
        }
    }

    /// What stands behind everything, where that is what was checked.
    pub(crate) fn end(self, check: Check) -> Coded {
        match self {
            Self::Identity => Coded::default(),
            Self::Gzip => Coded::identity(Bytes::copy_from_slice(&gzip::end(check))),
        }
    }
}

/// A coding and its weight: 1 where none is given, and 0 where it cannot be read.
fn named(coding: &str) -> (&str, f32) {
    let mut parts = coding.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

/// Bytes in a stream's coding, and what its end has to know of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Coded {
    pub(crate) bytes: Bytes,
    pub(crate) check: Check,
}

impl Coded {
    /// Bytes that are sent as they are.
    pub(crate) fn identity(bytes: Bytes) -> Self {
        Self { bytes, check: Check::default() }
    }

    /// All of them, one behind the other. One alone is not copied.
    pub(crate) fn concat<'c>(parts: impl Iterator<Item = &'c Self> + Clone) -> Self {
        let mut few = parts.clone();
        if let (Some(only), None) = (few.next(), few.next()) {
            return only.clone();
        }
        let mut bytes = BytesMut::with_capacity(parts.clone().map(|part| part.bytes.len()).sum());
        let mut check = Check::default();
        for part in parts {
            bytes.extend_from_slice(&part.bytes);
            check = check.then(part.check);
        }
        Self { bytes: bytes.freeze(), check }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_for_who_would_rather_have_it() {
        use Coding::{Gzip, Identity};
        for (lines, coding) in [
            (&[][..], Identity),
            (&[""], Identity),
            (&["gzip, deflate, br, zstd"], Gzip),
            (&["br;q=1.0, GZIP;q=0.1"], Gzip),
            (&["deflate", "x-gzip"], Gzip),
            (&["*"], Gzip),
            (&["*;q=0.5, gzip;q=0"], Identity),
            (&["gzip; q=0.000"], Identity),
            (&["gzip;q=0.5, identity"], Identity),
            (&["gzip, identity"], Gzip),
            (&["identity;q=0.2,gzip ; Q=0.3"], Gzip),
            (&["gzip;q=much"], Identity),
            (&["gzip;q=NaN"], Identity),
            (&["identity;q=0"], Identity),
            (&["gzippy, deflate"], Identity),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(Coding::preferred(&headers), coding, "{lines:?}");
        }
    }
}
