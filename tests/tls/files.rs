//! Unusable certificates and keys are named, with the reason.

use std::time::SystemTime;

use corecast::engine::Tls;

use crate::certificates::{Authority, Folder};

/// A folder with valid files, and one invalid file of every kind.
fn folder() -> Folder {
    let authority = Authority::new("the server's");
    let folder = Folder::new(&authority.server(2100));
    folder.write("empty", "");
    folder.write("garbage", "-----BEGIN CERTIFICATE-----\n####\n");
    folder.write(
        "mixed",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    folder.write("expired", &authority.server(2024).cert);
    folder.write("other", &authority.server(2100).key);
    folder
}

#[test]
fn every_file_that_cannot_be_used_is_named_with_the_reason() {
    let cases = [
        ("cert", "absent", "cannot be read: No such file"),
        ("cert", "empty", "holds no certificate in PEM"),
        ("cert", "garbage", "is not PEM: "),
        ("cert", "mixed", "holds a certificate that cannot be used: "),
        ("cert", "expired", "holds a certificate that expired at "),
        ("key", "absent", "cannot be read: No such file"),
        ("key", "empty", "holds no private key in PEM"),
        ("key", "other", "does not belong to the certificate in "),
        ("ca", "empty", "holds no certificate in PEM"),
        ("ca", "mixed", "holds a certificate that cannot be used: "),
    ];
    let folder = folder();
    for (role, name, reason) in cases {
        let (mut files, path) = (folder.files(), folder.path(name));
        match role {
            "cert" => files.cert_file = path.clone(),
            "key" => files.key_file = path.clone(),
            _ => files.client_ca_file = Some(path.clone()),
        }
        let error = Tls::load(&files, SystemTime::now()).expect_err(reason);
        let expected = format!("{}: {reason}", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(error.file(), Some(&path));
    }
    let files = folder.files();
    let early = Tls::load(&files, SystemTime::UNIX_EPOCH).expect_err("not yet valid");
    assert!(early.to_string().contains("not valid before"), "{early}");
    assert!(Tls::load(&files, SystemTime::now()).is_ok());
}
