//! A hub of a test's own: an ingest and two edges over one NATS server, and one that keeps its own log and
//! has TLS, so that nothing that can be told is missing. Dropping it ends it.

use std::{fs, path::Path};

use tempfile::TempDir;
use tidewire_testbed::{NatsCluster, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewire");

pub(crate) struct Hub {
    pub(crate) edges: [Process; 2],
    pub(crate) ingest: Process,
    pub(crate) standalone: Process,
    /// Last, since the others stand on it.
    _nats: NatsCluster,
    _certificate: TempDir,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        let nats = NatsCluster::start(1).await;
        let url = nats.urls().join(",");
        let certificate = TempDir::with_prefix("tidewire-certificate-").unwrap();
        let [crt, key] = certify(certificate.path());
        let at = ["--nats-url", &url];
        let edge = || launch("edge", &[&at[..], &["--compression", "gzip"]].concat());
        let mut hub = Self {
            edges: [edge(), edge()],
            ingest: launch("ingest", &at),
            standalone: launch("standalone", &["--tls-certificate", &crt, "--tls-key", &key]),
            _nats: nats,
            _certificate: certificate,
        };
        for process in hub.edges.iter_mut().chain([&mut hub.ingest, &mut hub.standalone]) {
            process.ready().await;
        }
        hub
    }

    /// Where Prometheus finds each, and by the name of which job.
    pub(crate) fn targets(&self) -> Vec<(&'static str, String)> {
        let [one, other] = &self.edges;
        let processes = [
            ("tidewire-edge", one),
            ("tidewire-edge", other),
            ("tidewire-ingest", &self.ingest),
            ("tidewire-standalone", &self.standalone),
        ];
        processes.map(|(job, process)| (job, address(&process.operations))).to_vec()
    }
}

/// What a URL leads to, without the scheme.
pub(crate) fn address(url: &str) -> String {
    url.split_once("://").unwrap().1.to_owned()
}

fn launch(service: &str, flags: &[&str]) -> Process {
    let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
    Process::launch(Path::new(PROGRAM), service, &flags)
}

/// Writes a certificate that nobody trusts, and its key.
fn certify(directory: &Path) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let texts = [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())];
    texts.map(|(name, text)| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    })
}
