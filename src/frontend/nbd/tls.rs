//! TLS for the server: the certificate, who may come in, and the record layer over plain bytes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::base::OpenError;

/// The files that TLS is set up from, all PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// The authority that clients' certificates are signed by. Without one, any client may come.
    pub client_ca: Option<PathBuf>,
}

/// What a server needs to speak TLS.
#[derive(Clone)]
pub struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads `files`.
    ///
    /// # Errors
    /// One line that names the file that cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, OpenError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| OpenError::new("tls", error, ""))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| unusable(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unusable(&files.key, &error))?;
        let config = builder
            .with_single_cert(certificates(&files.certificate)?, key)
            .map_err(|error| unusable(&files.certificate, &error))?;
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(path, &"no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, why: &dyn fmt::Display) -> OpenError {
    let remedy = "give a PEM file that the server may read";
    OpenError::new(path.display().to_string(), why, remedy)
}

/// The record layer of one connection.
pub(super) struct Session {
    connection: ServerConnection,
    /// What has been opened and not read: at most what one call of `take_in` was given.
    opened: VecDeque<u8>,
    /// Bytes written since the last time something was taken out.
    waiting_bytes: usize,
}

impl Session {
    /// What is received at once, in bytes: a record of the largest size and its frame.
    pub(super) const RECORD_BYTES: usize = 32 << 10;

    pub(super) fn new(mut connection: ServerConnection) -> Self {
        // What is waiting to be sent is bounded by the caller, who sends it as it grows.
        connection.set_buffer_limit(None);
        Self {
            connection,
            opened: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(super) fn wants_to_send(&self) -> bool {
        self.connection.wants_write()
    }

    /// How many bytes have been written but not taken out, before sealing.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Takes in what has arrived, and opens it. The connection itself refuses to hold more than a
    /// record or so, so what is opened is moved out at once.
    pub(super) fn take_in(&mut self, mut sealed: &[u8]) -> io::Result<()> {
        while !sealed.is_empty() {
            self.connection.read_tls(&mut sealed)?;
            let state = self
                .connection
                .process_new_packets()
                .map_err(io::Error::other)?;
            let mut opened = vec![0; state.plaintext_bytes_to_read()];
            self.connection.reader().read_exact(&mut opened)?;
            self.opened.extend(opened);
        }
        Ok(())
    }

    /// Takes what is to be sent.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        self.waiting_bytes = 0;
        let mut out = Vec::new();
        while self.connection.wants_write() {
            self.connection
                .write_tls(&mut out)
                .expect("a vector takes everything");
        }
        out
    }

    /// Opened bytes: some, none yet (`None`), or none any more (zero).
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.opened.is_empty() {
            return self.opened.read(out).map(Some);
        }
        match self.connection.reader().read(out) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Seals `bytes`, to be taken out.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(bytes)?;
        self.waiting_bytes += bytes.len();
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
