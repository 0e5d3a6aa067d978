//! Certificates and keys that cannot be used are named, with what is wrong with them.

use std::time::SystemTime;

use corecast::engine::Tls;

use crate::certificates::{Authority, Folder};

#[test]
fn every_file_that_cannot_be_used_is_named_with_the_reason() {
    let authority = Authority::new("the server's");
    let (good, other) = (authority.server(2100), authority.server(2100));
    let expired = authority.server(2024);
    let folder = Folder::new(&good);
    let paths = ["absent", "empty", "garbage", "mixed", "expired", "other"];
    let [absent, empty, garbage, mixed, old, foreign] = paths.map(|name| folder.path(name));
    folder.write("empty", "");
    folder.write("garbage", "-----BEGIN CERTIFICATE-----\n####\n");
    folder.write(
        "mixed",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    folder.write("expired", &expired.cert);
    folder.write("other", &other.key);
    let files = folder.files();
    let with_cert = |path| corecast::engine::TlsFiles {
        cert_file: path,
        ..files.clone()
    };
    let with_key = |path| corecast::engine::TlsFiles {
        key_file: path,
        ..files.clone()
    };
    let with_ca = |path| corecast::engine::TlsFiles {
        client_ca_file: Some(path),
        ..files.clone()
    };
    let cases = [
        (
            with_cert(absent.clone()),
            "absent: cannot be read: No such file",
        ),
        (
            with_cert(empty.clone()),
            "empty: holds no certificate in PEM",
        ),
        (with_cert(garbage), "garbage: is no PEM: "),
        (
            with_cert(mixed.clone()),
            "mixed: holds a certificate that cannot be used: ",
        ),
        (
            with_cert(old),
            "expired: holds a certificate that is expired since ",
        ),
        (with_key(absent), "absent: cannot be read: No such file"),
        (
            with_key(empty.clone()),
            "empty: holds no private key in PEM",
        ),
        (
            with_key(foreign),
            "other: does not belong to the certificate in ",
        ),
        (with_ca(empty), "empty: holds no certificate in PEM"),
        (
            with_ca(mixed),
            "mixed: holds a certificate that cannot be used: ",
        ),
    ];
    for (files, expected) in cases {
        let error = Tls::load(&files, SystemTime::now())
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            error.starts_with(folder.path("").to_str().expect("UTF-8")),
            "{error}"
        );
    }
    let early = Tls::load(&files, SystemTime::UNIX_EPOCH).expect_err("not yet valid");
    assert!(early.to_string().contains("not valid before"), "{early}");
    assert!(Tls::load(&files, SystemTime::now()).is_ok());
}
