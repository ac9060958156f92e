//! A certificate for 127.0.0.1 in files, as an operator has one.

use std::{fs, path::PathBuf};

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

pub(crate) struct Certificate {
    _directory: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
        let directory = TempDir::new().unwrap();
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let certificate = file("hub.crt", made.cert.pem());
        let key = file("hub.key", made.signing_key.serialize_pem());
        Self { _directory: directory, certificate, key }
    }

    pub(crate) fn path(&self) -> &str {
        self.certificate.to_str().unwrap()
    }

    /// What the hub is told.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--tls-certificate", self.path(), "--tls-key", self.key.to_str().unwrap()]
    }
}
