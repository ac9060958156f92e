//! Names of devices as tokens of a topic.

use tidewire_core::Topic;

/// Bytes of a token: mount points can be long, and a topic has 255 in all.
const TOKEN_BYTES_MAX: usize = 128;

/// The name with `_` for whatever a token must not hold, cut where it is too long.
pub(super) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for c in name.chars().map(|c| if is_allowed(c) { c } else { '_' }) {
        if token.len() + c.len_utf8() > TOKEN_BYTES_MAX {
            break;
        }
        token.push(c);
    }
    if token.is_empty() { "_".into() } else { token }
}

/// Whether a topic of this character alone is one: the rule has one home.
fn is_allowed(c: char) -> bool {
    Topic::parse(c.encode_utf8(&mut [0; 4])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_allowed_and_replaces_the_rest() {
        for (name, expected) in [
            ("/", "/"),
            ("/home/ä", "/home/ä"),
            ("eth0.100", "eth0_100"),
            ("C:\\", "C:\\"),
            ("/mnt/my disk\t*>\u{200b}", "/mnt/my_disk____"),
            ("", "_"),
        ] {
            assert_eq!(token(name), expected);
        }
    }

    #[test]
    fn long_names_make_valid_topics() {
        let token = token(&"é".repeat(500));
        assert_eq!(token.len(), TOKEN_BYTES_MAX);
        Topic::parse(&format!("machine.network.{token}")).unwrap();
    }
}
