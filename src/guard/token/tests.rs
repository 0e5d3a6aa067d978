//! Valid tokens, and every way in which a token is not valid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::json;

use super::*;
use crate::guard::Secret;

/// The example keys of RFC 7515 appendix A.1 to A.3 and of RFC 8037 appendix A.2.
const STANDARD_KEYS: &str = r#"{"keys": [
    {"kty": "oct",
     "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    {"kty": "RSA", "e": "AQAB",
     "n": "N_OF_RSA"},
    {"kty": "EC", "crv": "P-256",
     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}"#;
const N_OF_RSA: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qP\
    CJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL\
    -bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9\
    kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
/// `exp` is 1300819380.
const STANDARD_CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
    cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const STANDARD_EXPIRES_S: u64 = 1_300_819_380;

/// 2,048 bits, for these tests only.
const RSA_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvwIBADANBgkqhkiG9w0BAQEFAASCBKkwggSlAgEAAoIBAQDZygys9z9YDrLM
1j2xlueebFcf6m/EudsuuXfPImuk9sFtLgtIjvgR/F58YU5UxQwjN/cWldEIOm36
1iVJ5k82X3gSI8wUvOAEht/93GHRhiCrxN6d1thSb5C1F+uuiObleidzdMt8EpFm
NIkLXEVk0ISEq3s3nvqBp5Xg4TxzTpKqMfMGAAYAnCAVdAFaXGQkhAqZkIWfhogC
o/oWT+6KK0xUfMqJ1cprTR6h0mR6TKs1Gytlk8r1iIiOZ4roFAPD0BlZiVVFRjF4
H/jgNhCsMMPlFqXa8cEd+p/tOy7YaQnLjvLZTHSRuKUEOuEmPsHO92MfaMMvx1Ke
MmyMxu/vAgMBAAECggEAaxQaU1hk/oiLhIa5Yn1Nd+jQlVKQjWrLxxdNPrwvrLXd
uC5xQcV5Vm58ji7RcoBHTXGQvLwAQElqFXAAeWsQ+yzJPjH3fyK2CcO+kXQva/LE
UW/D/FrLlQxhW4hdSjzpOV5r0ypTebcvYc7mqn09aSnUXd5qAJjbla+t0xkqvY21
/bB1H2qIpznH1T5bX3L5+SIbPkS1OD1YhntwU9jOTkmr8trLwFFS5TvInq71DFFn
PnIwNsrgZGE/zKY0FiORC1p30D51Kp/oAUpfjNbCsXYo7qYROUnnYWaH+alAG/yg
gRUBIOCiVZ42zVFh8PBnz9DOquaMg6T5EsnI4pjAsQKBgQDvFjeRCxOgjGJ+kdXa
lSdn8HfC86peFlEt+woi2tdA3cSbe6YPsDsT3o+oU/7vh6qjrTuSpHgyWtnceo65
KF7MfFXoJJYYKIcMOPDWxvKvxp3lmDFHf4BwFZMjEha4J4fXaXgN/u3bgExL2ZF3
rkiAiCVlFldzl6xyIlQzZZmGUwKBgQDpMiQmhYxn2vLx4F1lUGH1Me8acE2h9YZB
m8X1z1UhvU7askzZfhYuzJBaLOfglz9PTldSIeZK3IxZTv0W/mVQE2kR1bRqT2D6
TZvoaMHZTsHV20Kke91ckwb6bmo4tgWo8GLceuPKzQ+k4pWWYuvPN9jieBBYplim
jTqPr4fEdQKBgQCbD0WqhAyOq32VqO+Re/q6pnKFtZJgwwiTUaUZReUk5K+GR4ND
2X/3OvjgqtlEcDBzRv7D9Hcf8VwqajH2VABnjpwImvHdaSts+eD46r6q0Z3GMhaD
0GV0TAnJTQn/FWQ8iOKb8SJCocrZxplZjWboNWRLU1oUVeI5g5ooW1RekQKBgQDl
fswnAQ1h9A9dzVH88DPHbAIFAfrU5l3fWZ9jv0zn7HebMRgCf1zzZ6y0ojb9R7wt
n0q+cNBEYnLZPaxEIc6xFLk1rRxl94LYMuK5wcbsxt5qSeN3HtOGVMfsVBfDghdl
4FVa6LIfltnLipZuryGlCDAxCLoFlIfwOVMlrzitNQKBgQDIhkzCOmlw48k/P1iB
pxZCj/pbw2K6WnLN01Dx89wk8ZhuqWHUGMlo+82RDDu+iN418suk1zA++5/b2+01
6YypDbSaZDy1maAQIvLWekri83XsYlY0lC4FPFWS+6eyi67d+AXEOlJscIjOpKzD
r7kK6eeSr21/nz130tDWya7g/A==
-----END PRIVATE KEY-----
";
const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2coMrPc/WA6yzNY9sZbn
nmxXH+pvxLnbLrl3zyJrpPbBbS4LSI74EfxefGFOVMUMIzf3FpXRCDpt+tYlSeZP
Nl94EiPMFLzgBIbf/dxh0YYgq8TendbYUm+QtRfrrojm5Xonc3TLfBKRZjSJC1xF
ZNCEhKt7N576gaeV4OE8c06SqjHzBgAGAJwgFXQBWlxkJIQKmZCFn4aIAqP6Fk/u
iitMVHzKidXKa00eodJkekyrNRsrZZPK9YiIjmeK6BQDw9AZWYlVRUYxeB/44DYQ
rDDD5Ral2vHBHfqf7Tsu2GkJy47y2Ux0kbilBDrhJj7BzvdjH2jDL8dSnjJsjMbv
7wIDAQAB
-----END PUBLIC KEY-----
";

const NOW_S: u64 = 1_800_000_000;
const SECRET: &str = "a secret of these tests, long enough";

fn at(unix_s: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix_s)
}

fn standard_keys() -> TokenKeys {
    TokenKeys::parse(&STANDARD_KEYS.replace("N_OF_RSA", N_OF_RSA)).expect("keys")
}

fn secret_keys() -> TokenKeys {
    let mut keys = TokenKeys::default();
    keys.add_secret(&Secret::new(SECRET));
    keys
}

fn secret_signer() -> SigningKey {
    SigningKey::of_secret(&Secret::new(SECRET)).expect("a secret")
}

/// Verifies a token with these claims, signed with the secret.
fn judged(claims: &serde_json::Value, checks: &TokenChecks) -> Result<Claims, TokenError> {
    let token = secret_signer().sign_claims(None, claims).expect("a token");
    secret_keys().verify(&token, checks, at(NOW_S))
}

/// A token with this header and without a signature.
fn with_header(header: &str) -> String {
    let claims = json!({"exp": NOW_S + 60}).to_string();
    let [header, claims] = [header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.")
}

#[test]
fn the_examples_of_the_standards_are_valid_until_they_expire() {
    let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_\
        lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xB\
        ArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noO\
        PqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let es256 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3\
        -Kg6NU1Q";
    for (header, signature) in [
        (
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        ("eyJhbGciOiJSUzI1NiJ9", rs256),
        ("eyJhbGciOiJFUzI1NiJ9", es256),
    ] {
        let token = format!("{header}.{STANDARD_CLAIMS}.{signature}");
        let checks = TokenChecks {
            issuer: Some("joe".to_owned()),
            ..TokenChecks::default()
        };
        let judge = |now_s| standard_keys().verify(&token, &checks, at(now_s));
        let claims = judge(STANDARD_EXPIRES_S - 1).expect("a good token");
        assert_eq!(claims.expires, at(STANDARD_EXPIRES_S));
        assert_eq!(judge(STANDARD_EXPIRES_S + 29), Ok(claims));
        assert_eq!(judge(STANDARD_EXPIRES_S + 30), Err(TokenError::Expired));
    }
}

#[test]
fn the_example_of_eddsa_has_a_valid_signature_but_no_claims() {
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sV\
        vpAr_MuM0KAg";
    let text = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let judge = |text: &str| {
        let token = format!("eyJhbGciOiJFZERTQSJ9.{text}.{signature}");
        standard_keys().verify(&token, &TokenChecks::default(), at(NOW_S))
    };
    // A wrong signature would be reported first.
    assert_eq!(judge(text), Err(TokenError::Malformed));
    let other = text.replace("RXh", "RXg");
    assert_eq!(judge(&other), Err(TokenError::Signature));
}

#[test]
fn a_token_of_each_algorithm_is_verified_by_its_own_key_alone() {
    let pair = |algorithm| KeyPair::generate_for(algorithm).expect("a key");
    let (ec, ed) = (pair(&PKCS_ECDSA_P256_SHA256), pair(&PKCS_ED25519));
    let (other_ec, other_ed) = (pair(&PKCS_ECDSA_P256_SHA256), pair(&PKCS_ED25519));
    let parse = |text: &str| TokenKeys::parse(text).expect("keys");
    let pem = |text: &str| SigningKey::of_pem(text).expect("a key");
    let sets = [
        (secret_signer(), secret_keys()),
        (pem(RSA_PRIVATE), parse(RSA_PUBLIC)),
        (pem(&ec.serialize_pem()), parse(&ec.public_key_pem())),
        (pem(&ed.serialize_pem()), parse(&ed.public_key_pem())),
    ];
    let claims = json!({"exp": NOW_S + 60, "sub": "ada"});
    let algorithms = sets.iter().map(|(signer, _)| signer.algorithm());
    assert!(algorithms.eq(Algorithm::ALL.iter().copied()));
    for (signed_by, (signer, _)) in sets.iter().enumerate() {
        let token = signer.sign_claims(None, &claims).expect("a token");
        for (verified_by, (_, keys)) in sets.iter().enumerate() {
            let verified = keys.verify(&token, &TokenChecks::default(), at(NOW_S));
            if signed_by == verified_by {
                let identity = verified.expect("a good token").identity;
                assert_eq!(identity.user.as_deref(), Some("ada"));
            } else {
                assert_eq!(verified, Err(TokenError::Algorithm));
            }
        }
        for other in [&other_ec, &other_ed].map(|pair| parse(&pair.public_key_pem())) {
            let verified = other.verify(&token, &TokenChecks::default(), at(NOW_S));
            assert!(matches!(
                verified,
                Err(TokenError::Signature | TokenError::Algorithm)
            ));
        }
    }
}

#[test]
fn the_key_decides_the_algorithm_and_none_is_rejected() {
    let judge = |header: &str, keys: &TokenKeys| {
        keys.verify(&with_header(header), &TokenChecks::default(), at(NOW_S))
    };
    let public = TokenKeys::parse(RSA_PUBLIC).expect("a key");
    for alg in [
        "none", "None", "NONE", "", "HS384", "RS512", "PS256", "ES384", "hs256",
    ] {
        let header = json!({"alg": alg}).to_string();
        assert_eq!(
            judge(&header, &secret_keys()),
            Err(TokenError::Algorithm),
            "{alg}"
        );
        assert_eq!(judge(&header, &public), Err(TokenError::Algorithm), "{alg}");
    }
    // A forger signs with the public key as if it were a secret of HS256.
    let forger = SigningKey::of_secret(&Secret::new(RSA_PUBLIC)).expect("long enough");
    let forged = forger.sign_claims(None, &json!({"exp": NOW_S + 60}));
    let forged = forged.expect("a token");
    let verified = public.verify(&forged, &TokenChecks::default(), at(NOW_S));
    assert_eq!(verified, Err(TokenError::Algorithm));
}

#[test]
fn a_text_that_is_not_a_token_is_malformed() {
    let good = secret_signer().sign_claims(None, &json!({"exp": NOW_S + 60}));
    let good = good.expect("a token");
    let verify = |token: &str| secret_keys().verify(token, &TokenChecks::default(), at(NOW_S));
    assert!(verify(&good).is_ok());
    let padded = format!("{good}=");
    let crit = with_header(r#"{"alg": "HS256", "crit": ["b64"], "b64": false}"#);
    let no_alg = with_header(r#"{"typ": "JWT"}"#);
    let twice = with_header(r#"{"alg": "HS256", "alg": "HS256"}"#);
    let kid = with_header(r#"{"alg": "HS256", "kid": 7}"#);
    for token in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "e30.e30.e30",
        &padded,
        &crit,
        &no_alg,
        &twice,
        &kid,
    ] {
        assert_eq!(verify(token), Err(TokenError::Malformed), "{token}");
    }
}

#[test]
fn a_token_with_any_changed_byte_is_rejected() {
    let claims = json!({"exp": NOW_S + 60, "sub": "ada"});
    let good = secret_signer().sign_claims(None, &claims).expect("a token");
    for (at_byte, byte) in good.bytes().enumerate() {
        let mut changed = good.clone().into_bytes();
        changed[at_byte] = if byte == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        let verified = secret_keys().verify(&changed, &TokenChecks::default(), at(NOW_S));
        assert!(verified.is_err(), "{changed}");
    }
}

#[test]
fn a_key_is_found_by_its_id() {
    let (one, two) = (
        KeyPair::generate_for(&PKCS_ED25519),
        KeyPair::generate_for(&PKCS_ED25519),
    );
    let (one, two) = (one.expect("a key"), two.expect("a key"));
    let jwk = |id: &str, pair: &KeyPair| {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
    };
    let set = json!({"keys": [jwk("one", &one), jwk("two", &two)]}).to_string();
    let keys = TokenKeys::parse(&set).expect("a set");
    let signer = SigningKey::of_pem(&two.serialize_pem()).expect("a key");
    let judge = |kid: Option<&str>| {
        let token = signer.sign_claims(kid, &json!({"exp": NOW_S + 60}));
        let token = token.expect("a token");
        let verified = keys.verify(&token, &TokenChecks::default(), at(NOW_S));
        verified.map(|_| ())
    };
    assert_eq!(judge(Some("two")), Ok(()));
    assert_eq!(judge(None), Ok(()));
    assert_eq!(judge(Some("one")), Err(TokenError::Signature));
    assert_eq!(judge(Some("three")), Err(TokenError::UnknownKey));
    assert_eq!(
        TokenKeys::default().verify(
            &signer.sign_claims(None, &json!({})).expect("a token"),
            &TokenChecks::default(),
            at(NOW_S),
        ),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn the_claims_of_time_hold_with_leeway_at_both_ends() {
    let checks = TokenChecks::default();
    let leeway_s = checks.leeway.as_secs();
    let far = NOW_S + 1_000;
    for (claims, error) in [
        (json!({"exp": NOW_S - leeway_s}), Some(TokenError::Expired)),
        (json!({"exp": NOW_S - leeway_s + 1}), None),
        (json!({"exp": NOW_S as f64 + 0.5}), None),
        (json!({"exp": -1}), Some(TokenError::Expired)),
        (json!({"exp": far, "nbf": NOW_S + leeway_s}), None),
        (
            json!({"exp": far, "nbf": NOW_S + leeway_s + 1}),
            Some(TokenError::NotYetValid),
        ),
        (json!({}), Some(TokenError::Malformed)),
        (json!({"exp": null}), Some(TokenError::Malformed)),
        (json!({"exp": far.to_string()}), Some(TokenError::Malformed)),
        (json!({"exp": 1e300}), Some(TokenError::Malformed)),
        (
            json!({"exp": far, "nbf": "soon"}),
            Some(TokenError::Malformed),
        ),
        (json!([far]), Some(TokenError::Malformed)),
    ] {
        assert_eq!(judged(&claims, &checks).err(), error, "{claims}");
    }
}

#[test]
fn issuer_and_audience_must_be_the_required_ones() {
    let text = |text: &str| Some(text.to_owned());
    let checks = TokenChecks {
        issuer: text("us"),
        audience: text("relay"),
        ..TokenChecks::default()
    };
    let none = TokenChecks::default();
    let with = |more: serde_json::Value| {
        let mut claims = json!({"exp": NOW_S + 60});
        let more = more.as_object().expect("claims").clone();
        claims.as_object_mut().expect("claims").extend(more);
        claims
    };
    for (claims, checks, error) in [
        (json!({"iss": "us", "aud": "relay"}), &checks, None),
        (json!({"iss": "us", "aud": ["x", "relay"]}), &checks, None),
        (
            json!({"iss": "them", "aud": "relay"}),
            &checks,
            Some(TokenError::Issuer),
        ),
        (json!({"aud": "relay"}), &checks, Some(TokenError::Issuer)),
        (json!({"iss": "us"}), &checks, Some(TokenError::Audience)),
        (
            json!({"iss": "us", "aud": "relays"}),
            &checks,
            Some(TokenError::Audience),
        ),
        (
            json!({"iss": "us", "aud": []}),
            &checks,
            Some(TokenError::Audience),
        ),
        (
            json!({"iss": "us", "aud": 7}),
            &checks,
            Some(TokenError::Malformed),
        ),
        (json!({"iss": "anybody"}), &none, None),
        (
            json!({"aud": "somebody"}),
            &none,
            Some(TokenError::Audience),
        ),
    ] {
        assert_eq!(
            judged(&with(claims.clone()), checks).err(),
            error,
            "{claims}"
        );
    }
}

#[test]
fn the_claims_hold_the_user_and_the_rooms_to_read_and_write() {
    let identity = |rooms: Option<serde_json::Value>| {
        let mut claims = json!({"exp": NOW_S + 60, "sub": "ada"});
        if let Some(rooms) = rooms {
            claims["rooms"] = rooms;
        }
        judged(&claims, &TokenChecks::default()).map(|claims| claims.identity)
    };
    let can = |identity: &Identity, room| (identity.may_read(room), identity.may_write(room));
    let all = identity(None).expect("a good token");
    assert_eq!(can(&all, "/any"), (true, true));
    let both = identity(Some(json!(["/a", "/b/*"]))).expect("a good token");
    assert_eq!(can(&both, "/b/c"), (true, true));
    assert_eq!(can(&both, "/c"), (false, false));
    let apart = json!({"read": ["*"], "write": ["/a"]});
    let apart = identity(Some(apart)).expect("a good token");
    assert_eq!(
        (can(&apart, "/a"), can(&apart, "/b")),
        ((true, true), (true, false))
    );
    let reader = identity(Some(json!({"read": ["/a"]}))).expect("a good token");
    assert_eq!(can(&reader, "/a"), (true, false));
    let none = identity(Some(json!([]))).expect("a good token");
    assert_eq!(can(&none, "/a"), (false, false));
    for rooms in [json!(null), json!("*"), json!([7]), json!({"read": "*"})] {
        let malformed = identity(Some(rooms.clone()));
        assert_eq!(malformed, Err(TokenError::Malformed), "{rooms}");
    }
}

#[test]
fn a_made_token_is_valid() {
    let patterns = |text: &str| vec![text.parse().expect("a pattern")];
    let token = NewToken {
        user: Some("ada".to_owned()),
        rooms: Some((patterns("*"), patterns("/a"))),
        issuer: Some("us".to_owned()),
        audience: Some("relay".to_owned()),
        begins: Some(at(NOW_S)),
        expires: at(NOW_S + 60),
        key_id: None,
    };
    let checks = TokenChecks {
        issuer: Some("us".to_owned()),
        audience: Some("relay".to_owned()),
        leeway: Duration::ZERO,
    };
    let token = secret_signer().sign(&token).expect("a token");
    let judge = |now_s| secret_keys().verify(&token, &checks, at(now_s));
    let claims = judge(NOW_S).expect("a good token");
    assert_eq!(claims.identity.user.as_deref(), Some("ada"));
    assert!(claims.identity.may_read("/b") && !claims.identity.may_write("/b"));
    assert_eq!(judge(NOW_S - 1), Err(TokenError::NotYetValid));
    assert_eq!(judge(NOW_S + 60), Err(TokenError::Expired));
}

#[test]
fn files_without_a_usable_key_are_rejected_with_the_reason() {
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let short = r#"{"kty": "oct", "k": "c2hvcnQ"}"#;
    let no_x = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519"}]}"#;
    let foreign = r#"{"keys": [{"kty": "EC", "crv": "P-384"}, {"kty": "new"}, 7,
        {"kty": "RSA", "alg": "PS256"}, {"kty": "OKP", "crv": "Ed25519", "use": "enc"}]}"#;
    let too_many = json!({"keys": vec![
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        65
    ]});
    for (text, error) in [
        ("", TokenKeyError::Empty),
        ("some text", TokenKeyError::Form),
        ("{\"keys\": 7}", TokenKeyError::Form),
        (RSA_PRIVATE, TokenKeyError::Form),
        (&p384.public_key_pem(), TokenKeyError::Kind(1)),
        (
            short,
            TokenKeyError::Jwk(1, "its secret is shorter than 32 bytes"),
        ),
        (
            no_x,
            TokenKeyError::Jwk(1, "its x is missing or not base64url"),
        ),
        (foreign, TokenKeyError::Empty),
        ("{\"keys\": []}", TokenKeyError::Empty),
        (&too_many.to_string(), TokenKeyError::TooMany),
    ] {
        assert_eq!(TokenKeys::parse(text).err(), Some(error), "{text}");
    }
    let both = format!("{RSA_PUBLIC}{}", p384.public_key_pem());
    assert_eq!(TokenKeys::parse(&both).err(), Some(TokenKeyError::Kind(2)));
    assert_eq!(
        SigningKey::of_pem(RSA_PUBLIC).err(),
        Some(SigningKeyError::Form)
    );
    let kind = SigningKey::of_pem(&p384.serialize_pem()).err();
    assert_eq!(kind, Some(SigningKeyError::Kind));
    let secret = SigningKey::of_secret(&Secret::new("short")).err();
    assert_eq!(secret, Some(SigningKeyError::Secret));
}

proptest! {
    #[test]
    fn no_random_text_panics_or_is_valid(
        text in "\\PC{0,60}",
        header in "\\{\"alg\": ?\"(HS256|none|ES256)\"(, ?\"kid\": ?(null|\"a\"|7))?\\}",
        claims in "\\{\"exp\": ?-?[0-9]{1,400}(\\.[0-9]{1,9})?(e[0-9]{1,4})?\\}",
        signature in "[A-Za-z0-9_-]{0,90}",
    ) {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        for token in [format!("{header}.{claims}.{signature}"), text.clone()] {
            for keys in [standard_keys(), secret_keys()] {
                let verified = keys.verify(&token, &TokenChecks::default(), at(NOW_S));
                prop_assert!(verified.is_err());
            }
        }
        let _ = TokenKeys::parse(&text);
    }

    #[test]
    fn no_claims_panic(claims in "\\{\"exp\": ?-?[0-9]{1,400}(\\.[0-9]{1,9})?(e[0-9]{1,4})?\\}") {
        if let Ok(claims) = serde_json::from_str(&claims) {
            let _ = judged(&claims, &TokenChecks::default());
        }
    }
}
