//! What `sslmode` asks of a server's certificate, in libpq's meaning.

use super::options::PostgresError;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{path::Path, sync::Arc};

/// How much of a server's certificate is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// Nothing: `prefer`, and `require` without certificates.
    Nothing,
    /// Who signed it: `verify-ca`, and `require` with certificates.
    Signer,
    /// Who signed it, and that it names the host: `verify-full`.
    SignerAndName,
}

/// Reads the file of certificates.
fn roots(path: &Path) -> Result<RootCertStore, PostgresError> {
    let wrong = |reason: String| PostgresError::Certificates { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it (wanted: PEM, BEGIN CERTIFICATE)".to_owned()));
    }
    Ok(roots)
}

/// The client's side of TLS.
pub(super) fn client_config(check: Check, ca_file: Option<&Path>) -> Result<ClientConfig, PostgresError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |error: &dyn std::fmt::Display| PostgresError::Database(format!("TLS: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| failed(&error))?;
    let verifier = match (check, ca_file) {
        (Check::Nothing, _) => Verifier { webpki: None, name: false, provider },
        (Check::Signer | Check::SignerAndName, Some(path)) => {
            let roots = Arc::new(roots(path)?);
            let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            let webpki = webpki.map_err(|error| failed(&error))?;
            Verifier { webpki: Some(webpki), name: check == Check::SignerAndName, provider }
        }
        (Check::Signer | Check::SignerAndName, None) => {
            return Err(PostgresError::Url(
                "has sslmode=verify-ca or verify-full, which need a file of certificates (ca_file, or sslrootcert)"
                    .to_owned(),
            ));
        }
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Verifies as far as `sslmode` asks.
#[derive(Debug)]
struct Verifier {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(webpki) = &self.webpki else { return Ok(ServerCertVerified::assertion()) };
        let verified = webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        match verified {
            // The name is looked at after the chain, so the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
