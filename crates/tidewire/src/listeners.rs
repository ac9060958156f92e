//! The ports of a process, all bound before anything else is done.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context;
use tokio::net::TcpListener;

/// Which ports a process has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    /// `http` or `https`.
    pub(crate) http_scheme: &'static str,
    /// None where nothing is published.
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) operations: SocketAddr,
}

pub(crate) struct Listeners {
    pub(crate) http: TcpListener,
    http_scheme: &'static str,
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) operations: TcpListener,
}

/// Where the process can be reached from this machine.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    pub(crate) http: String,
    pub(crate) grpc: Option<String>,
    pub(crate) operations: String,
}

impl Listeners {
    /// # Errors
    /// Where an address cannot be had; says which setting chooses another.
    pub(crate) async fn bind(addresses: Addresses) -> anyhow::Result<Self> {
        Ok(Self {
            http: bind("http-listen", addresses.http).await?,
            http_scheme: addresses.http_scheme,
            grpc: match addresses.grpc {
                Some(address) => Some(bind("grpc-listen", address).await?),
                None => None,
            },
            operations: bind("operations-listen", addresses.operations).await?,
        })
    }

    /// The real addresses, where a port was 0.
    pub(crate) fn urls(&self) -> io::Result<Urls> {
        let url_of = |scheme, listener: &TcpListener| {
            listener.local_addr().map(|address| url(scheme, address))
        };
        Ok(Urls {
            http: url_of(self.http_scheme, &self.http)?,
            grpc: self.grpc.as_ref().map(|grpc| url_of("http", grpc)).transpose()?,
            operations: url_of("http", &self.operations)?,
        })
    }
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; choose another address with --{flag} IP:PORT (port 0 \
             takes any free one)"
        )
    })
}

/// A URL that works from here, also where the address means every interface.
fn url(scheme: &str, mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_can_be_opened_from_this_machine() {
        for (address, wanted) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("192.0.2.1:1", "http://192.0.2.1:1"),
        ] {
            assert_eq!(url("http", address.parse().unwrap()), wanted);
        }
    }
}
