//! TLS on the public port: one certificate at a time, exchanged while connections go on.

mod expiry;

use std::{fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics;

/// Bytes that TLS holds for a connection whose socket takes nothing, about one record's: what a
/// stalled reader costs beside its socket. Unset it would be 64 KiB.
const UNSENT_BYTES_MAX: usize = 16 * 1024;
/// What a client may speak, by preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files that hold a certificate and its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and the chain that leads to the client's trust, in this order.
    pub certificate: PathBuf,
    /// The private key of the certificate: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Why files are no certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' {reason}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, in lower case, without a full stop.
    pub reason: String,
}

/// What makes a port speak TLS. Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    /// What stood in the files when they were loaded.
    loaded: Texts,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let loaded = Texts::read(&files)?;
        let certified = certified(&files, &loaded, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let server = server(provider, Arc::clone(&current))
            .map_err(|error| files.certificate_error(format!("cannot be served: {error}")))?;
        Ok(Self { files, loaded, current, acceptor: Arc::new(server).into() })
    }

    /// Shakes hands with a client.
    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let bounded = |connection: &mut rustls::ServerConnection| {
            connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        };
        self.acceptor.accept_with(socket, bounded).await
    }

    /// Looks at the files every so often until `ending` is cancelled, and exchanges the certificate
    /// when they have changed. A new one that cannot be used is told once, and the old one goes on.
    pub(crate) async fn keep_fresh(&self, interval: Duration, ending: &CancellationToken) {
        metrics::set_certificate_expiry(expiry_of(&self.current.0.read()));
        let (mut tried, mut seen) = (Ok(self.loaded.clone()), Ok(self.loaded.clone()));
        while ending.run_until_cancelled(sleep(interval)).await.is_some() {
            let files = self.files.clone();
            // A panic would be one of the file system's own.
            let Ok(found) = spawn_blocking(move || Texts::read(&files)).await else { continue };
            // Files that stand still are whole: two files are not written at once.
            if found == seen && found != tried {
                self.exchange(&found);
                tried = found.clone();
            }
            seen = found;
        }
    }

    fn exchange(&self, found: &Result<Texts, TlsError>) {
        let provider = ring::default_provider();
        let certified = match found {
            Ok(texts) => certified(&self.files, texts, &provider),
            Err(error) => Err(error.clone()),
        };
        match certified {
            Ok(certified) => {
                metrics::set_certificate_expiry(expiry_of(&certified));
                *self.current.0.write() = Arc::new(certified);
                metrics::count_certificate_reload("done");
                info!("new connections get the new TLS certificate");
            }
            Err(error) => {
                metrics::count_certificate_reload("failed");
                warn!(%error, "the new TLS certificate cannot be used: the old one goes on");
            }
        }
    }
}

/// Says which files, and nothing of what they hold.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

/// The certificate that new connections get.
struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// What stands in the files.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Texts {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let unreadable = |error: io::Error| format!("cannot be read: {error}");
        Ok(Self {
            certificate: fs::read(&files.certificate)
                .map_err(|error| files.certificate_error(unreadable(error)))?,
            key: fs::read(&files.key).map_err(|error| files.key_error(unreadable(error)))?,
        })
    }
}

impl TlsFiles {
    fn certificate_error(&self, reason: String) -> TlsError {
        TlsError { path: self.certificate.clone(), reason }
    }

    fn key_error(&self, reason: String) -> TlsError {
        TlsError { path: self.key.clone(), reason }
    }
}

fn certified(
    files: &TlsFiles,
    texts: &Texts,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&texts.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| files.certificate_error(format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(files.certificate_error("holds no certificate in PEM".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&texts.key).map_err(|error| {
        files.key_error(format!("holds no private key in PEM that is not encrypted: {error}"))
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => files.key_error(format!(
            "is not the key of the certificate '{}'",
            files.certificate.display()
        )),
        rustls::Error::InvalidCertificate(error) => {
            files.certificate_error(format!("holds a certificate that cannot be used: {error}"))
        }
        error => files.key_error(format!("holds a key that cannot be used: {error}")),
    })
}

fn server(
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
) -> Result<ServerConfig, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    server.alpn_protocols = PROTOCOLS.map(Into::into).into();
    // A client that comes back brings its ticket, and costs no signature: there is no table.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = ring::Ticketer::new()?;
    server.send_tls13_tickets = 1;
    Ok(server)
}

fn expiry_of(certified: &CertifiedKey) -> Option<i64> {
    expiry::of(certified.cert.first()?)
}
