//! Whom a request counts for: its peer, or whom the proxies in front say that it is from.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName, header::FORWARDED};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Bits of an IPv6 address that tell clients apart: the rest is a client's own to choose (RFC 6177).
const IPV6_CLIENT_BITS: u32 = 64;

/// Where a request's connection comes from; the routes find it among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A client as limits know it: an IPv4 address, or the network of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The client at an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let rest = u128::MAX >> IPV6_CLIENT_BITS;
                Ipv6Addr::from_bits(address.to_bits() & !rest).into()
            }
            address => address,
        })
    }

    /// The client behind a request. Headers count where the peer is a trusted proxy, and of what
    /// they list only as much as trusted proxies have added. Where `Forwarded` (RFC 7239) and
    /// `X-Forwarded-For` disagree, one of them was written by the client, and neither counts.
    pub(crate) fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        if !is_trusted(peer, trusted) {
            return Self::of(peer);
        }
        let client = |hops: Vec<Option<IpAddr>>| nearest_untrusted(hops, trusted);
        Self::of(match (client(forwarded(headers)), client(x_forwarded_for(headers))) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => peer,
        })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/{IPV6_CLIENT_BITS}"),
        }
    }
}

/// A network of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether an address is of this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).leading_zeros()
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= self.prefix_bits
    }
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an IP address or a network is wanted, such as 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits), str::parse).map_err(|_| NotANetwork)?;
        if prefix_bits > bits {
            return Err(NotANetwork);
        }
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Whether an address is that of a trusted proxy.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// From right to left: each trusted proxy has added whom it got the request from. What cannot be
/// read ends that, as what is not trusted does.
fn nearest_untrusted(hops: Vec<Option<IpAddr>>, trusted: &[Network]) -> Option<IpAddr> {
    let mut nearest = None;
    for hop in hops.into_iter().rev() {
        nearest = Some(hop.or(nearest)?);
        if hop.is_none_or(|hop| !is_trusted(hop, trusted)) {
            break;
        }
    }
    nearest
}

fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    listed(headers, &X_FORWARDED_FOR).split(',').map(node).collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let listed = listed(headers, &FORWARDED);
    let elements = split_unquoted(&listed, ',').into_iter();
    elements.map(|element| split_unquoted(element, ';').into_iter().find_map(for_node)).collect()
}

/// All lines of a header that is a list, as one.
fn listed(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.collect::<Vec<_>>().join(",")
}

/// The parts between separators. One within quotes is none: a proxy may quote what a client wrote.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(|character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return character == separator && !is_quoted,
        }
        false
    })
    .collect()
}

/// The address of a `for=` pair.
fn for_node(pair: &str) -> Option<IpAddr> {
    let (name, value) = pair.trim().split_once('=')?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    name.eq_ignore_ascii_case("for").then(|| node(value))?
}

/// An address, with a port or without; an IPv6 address in brackets or without.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address: Option<IpAddr> = text.parse().ok();
    address.or_else(with_port).or_else(bare).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn client(peer: &str, headers: &[(HeaderName, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        let trusted = networks(&["10.0.0.0/8", "fd00::/8"]);
        ClientAddress::behind(peer.parse().unwrap(), &map, &trusted).0.to_string()
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("fd00::/8", "fd12::1", true),
            ("::1", "::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), holds, "{network} {address}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "proxy", "10/8"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        assert_eq!(client("2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(client("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn headers_count_only_as_far_as_trusted_proxies_wrote_them() {
        let xff = X_FORWARDED_FOR;
        for (peer, header, value, expected) in [
            // Whoever is no proxy may say what it likes.
            ("192.0.2.9", xff.clone(), "192.0.2.1", "192.0.2.9"),
            ("10.0.0.1", xff.clone(), "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", xff.clone(), "203.0.113.6, 192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", xff.clone(), "192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1"),
            ("10.0.0.1", xff.clone(), "192.0.2.1:4711", "192.0.2.1"),
            ("10.0.0.1", xff.clone(), "10.0.0.7, 10.0.0.2", "10.0.0.7"),
            ("10.0.0.1", xff.clone(), "192.0.2.1, nonsense, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", xff.clone(), "192.0.2.1, nonsense", "10.0.0.1"),
            ("10.0.0.1", xff.clone(), "", "10.0.0.1"),
            ("fd00::1", xff.clone(), "2001:db8::1", "2001:db8::"),
            ("10.0.0.1", FORWARDED, "for=192.0.2.1;proto=http;by=203.0.113.43", "192.0.2.1"),
            ("10.0.0.1", FORWARDED, "For=\"[2001:db8::17]:4711\"", "2001:db8::"),
            ("10.0.0.1", FORWARDED, "for=203.0.113.6, for=192.0.2.1, for=10.2.2.2", "192.0.2.1"),
            ("10.0.0.1", FORWARDED, "for=_hidden, for=unknown", "10.0.0.1"),
            // What a proxy quotes was the client's.
            ("10.0.0.1", FORWARDED, "for=192.0.2.1;host=\"x,for=203.0.113.6;y=\"", "192.0.2.1"),
            ("10.0.0.1", FORWARDED, "for=192.0.2.1;host=\"\\\",for=203.0.113.6\"", "192.0.2.1"),
        ] {
            assert_eq!(client(peer, &[(header, value)]), expected, "{peer} {value}");
        }
        let lines = [(xff.clone(), "203.0.113.6"), (xff, "192.0.2.1")];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1", "lines are one list");
    }

    #[test]
    fn of_two_headers_that_disagree_neither_counts() {
        let both = |one, other| client("10.0.0.1", &[(FORWARDED, one), (X_FORWARDED_FOR, other)]);
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(both("for=203.0.113.6", "192.0.2.1"), "10.0.0.1");
        assert_eq!(both("for=unknown", "192.0.2.1"), "192.0.2.1");
    }
}
