//! When a certificate ends: the one field of it that an operator is told (RFC 5280, section 4.1).

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

// Tags of the encoding (X.690).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity as a Unix time, in seconds; `None` where it is spelled in a
/// way that no authority uses.
pub(super) fn of(certificate: &[u8]) -> Option<i64> {
    let (SEQUENCE, certificate, _) = element(certificate)? else { return None };
    let (SEQUENCE, fields, _) = element(certificate)? else { return None };
    let (tag, _, after_first) = element(fields)?;
    // The version may be left out: then the serial number is first.
    let after_serial = if tag == VERSION { element(after_first)?.2 } else { after_first };
    let (_, _, after_algorithm) = element(after_serial)?;
    let (_, _, after_issuer) = element(after_algorithm)?;
    let (SEQUENCE, validity, _) = element(after_issuer)? else { return None };
    let (_, _, after_begin) = element(validity)?;
    let (tag, end, _) = element(after_begin)?;
    let end = std::str::from_utf8(end).ok()?;
    match tag {
        // Two digits of the year: those below 50 are of this century.
        UTC_TIME if end < "50" => moment(&format!("20{end}")),
        UTC_TIME => moment(&format!("19{end}")),
        GENERALIZED_TIME => moment(end),
        _ => None,
    }
}

/// An element's tag, its contents, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x80 => return None,
        // Up to two bytes of length: no certificate is longer than 64 KiB.
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// Reads `YYYYMMDDHHMMSSZ`, which is the only form allowed (section 4.1.2.5).
fn moment(text: &str) -> Option<i64> {
    let [year, month, day, hour, minute, second, zone] =
        [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..15].map(|range| text.get(range));
    let date = format!("{}-{}-{}", year?, month?, day?);
    let time = format!("{}:{}:{}{}", hour?, minute?, second?, zone?);
    let moment = OffsetDateTime::parse(&format!("{date}T{time}"), &Rfc3339).ok()?;
    Some(moment.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn reads_the_end_of_a_certificate() {
        for (year, unix) in [(2031, 1_924_992_000), (2049, 2_493_072_000), (2077, 3_376_684_800)] {
            let mut params = CertificateParams::new(["hub.example".into()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(of(certificate.der()), Some(unix), "{year}");
        }
    }

    #[test]
    fn what_is_cut_or_no_certificate_has_no_end() {
        let params = CertificateParams::new(["hub.example".into()]).unwrap();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = certificate.der();
        for length in 0..certificate.len() {
            of(&certificate[..length]);
        }
        assert_eq!(of(&certificate[..100]), None);
        assert_eq!(of(b"no certificate"), None);
    }
}
