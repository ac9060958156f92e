//! Certificates made for a test, in files, and clients that believe exactly one of them.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tidewire_edge::{Tls, TlsFiles};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};

/// A certificate and its key, signed by themselves.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

impl Made {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }

    /// Connects as a client that believes this certificate alone, and speaks `protocols`.
    pub(crate) async fn connect(
        &self,
        socket: TcpStream,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect("localhost".try_into().unwrap(), socket).await
    }
}

/// A directory with the two files.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn of(made: &Made) -> Self {
        let files = Self { directory: TempDir::new().unwrap() };
        files.write(&made.certificate, &made.key);
        files
    }

    pub(crate) fn write(&self, certificate: &str, key: &str) {
        let TlsFiles { certificate: certificate_path, key: key_path } = self.paths();
        fs::write(certificate_path, certificate).unwrap();
        fs::write(key_path, key).unwrap();
    }

    pub(crate) fn paths(&self) -> TlsFiles {
        let path = |name: &str| -> PathBuf { self.directory.path().join(name) };
        TlsFiles { certificate: path("hub.crt"), key: path("hub.key") }
    }

    pub(crate) fn load(&self) -> Tls {
        Tls::load(self.paths()).unwrap()
    }
}
