//! An operator, an account and a user, as `nsc` would make them: keys, and JWTs that they sign.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// What a server is told, and what a user of it holds.
pub(crate) struct Operator {
    /// Lines of a server's configuration.
    pub(crate) config: String,
    account: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let system = KeyPair::new_account();
        let unlimited = json!({
            "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1,
            "payload": -1, "wildcards": true, "mem_storage": -1, "disk_storage": -1,
            "streams": -1, "consumer": -1,
        });
        let without_storage = json!({
            "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1,
            "payload": -1, "wildcards": true,
        });
        let of_account = |limits| json!({ "type": "account", "version": 2, "limits": limits });
        let config = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n  {}: {}\n  \
             {}: {}\n}}\n",
            jwt(&operator, &operator, json!({ "type": "operator", "version": 2 })),
            system.public_key(),
            account.public_key(),
            jwt(&operator, &account, of_account(unlimited)),
            system.public_key(),
            jwt(&operator, &system, of_account(without_storage)),
        );
        Self { config, account }
    }

    /// A credentials file's text for a user, and the user's seed within it.
    pub(crate) fn user(&self) -> (String, String) {
        let user = KeyPair::new_user();
        let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (jwt, seed) = (jwt(&self.account, &user, claims), user.seed().unwrap());
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        (file, seed)
    }
}

/// What an issuer says of a subject, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": subject.public_key(),
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": "test",
        "nats": claims,
    });
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(header), encoded(body));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
