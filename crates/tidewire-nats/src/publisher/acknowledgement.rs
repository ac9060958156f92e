//! What JetStream answers to a publish.

use async_nats::{Message, StatusCode};
use serde::Deserialize;
use tidewire_core::Sequence;

/// JetStream's codes (`err_code`) for "this will not be stored now, and trying at once will not
/// help": no room in the servers' storage, in the account, in the stream.
const NO_ROOM: [u64; 4] = [10_023, 10_028, 10_047, 10_077];
/// JetStream's code for "the same id is being stored": what comes of it is not known yet.
const IN_PROCESS: u64 = 10_158;
/// JetStream's code for an event larger than the stream takes.
const TOO_LARGE: u64 = 10_054;

/// An answer, by what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Acknowledgement {
    /// It is stored.
    Stored {
        /// Where.
        sequence: Sequence,
        /// Whether its id was stored before.
        is_duplicate: bool,
    },
    /// It is not stored, and will not be if it is sent again at once.
    Refused(String),
    /// It is larger than the stream takes.
    TooLarge,
    /// The same id is being stored: a little later it will be known where.
    InProcess,
    /// Nobody could store it just now: no leader, a leader that is stopping.
    TryAgain(String),
}

impl Acknowledgement {
    pub(super) fn parse(message: &Message) -> Self {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            seq: u64,
            #[serde(default)]
            duplicate: bool,
            error: Option<Reason>,
        }
        #[derive(Deserialize)]
        struct Reason {
            #[serde(default)]
            code: u16,
            #[serde(default)]
            err_code: u64,
            #[serde(default)]
            description: String,
        }
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::TryAgain("nobody answers for the stream".into());
        }
        match serde_json::from_slice::<Answer>(&message.payload) {
            Ok(Answer { error: Some(Reason { code, err_code, description }), .. }) => {
                match err_code {
                    TOO_LARGE => Self::TooLarge,
                    IN_PROCESS => Self::InProcess,
                    refused if NO_ROOM.contains(&refused) => Self::Refused(description),
                    _ if code == 503 => Self::TryAgain(description),
                    _ => Self::Refused(description),
                }
            }
            Ok(Answer { seq, duplicate, error: None }) if seq > 0 => {
                Self::Stored { sequence: Sequence(seq), is_duplicate: duplicate }
            }
            _ => Self::TryAgain("an acknowledgement cannot be read".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &str) -> Acknowledgement {
        Acknowledgement::parse(&Message {
            subject: "inbox".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        })
    }

    #[test]
    fn each_answer_has_its_consequence() {
        use Acknowledgement::{InProcess, Refused, Stored, TooLarge, TryAgain};
        let stored = |sequence, is_duplicate| Stored { sequence: Sequence(sequence), is_duplicate };
        assert_eq!(parse(r#"{"stream":"S","seq":7}"#), stored(7, false));
        assert_eq!(parse(r#"{"stream":"S","seq":7,"duplicate":true}"#), stored(7, true));
        let error = |code: u16, err_code: u64| {
            parse(&format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"d"}}}}"#
            ))
        };
        assert_eq!(error(400, 10_054), TooLarge);
        assert_eq!(error(409, 10_158), InProcess);
        assert_eq!(error(503, 10_077), Refused("d".into()));
        assert_eq!(error(400, 10_166), Refused("d".into()));
        assert_eq!(error(503, 10_008), TryAgain("d".into()));
        assert!(matches!(parse(""), TryAgain(_)));
        assert!(matches!(parse("{}"), TryAgain(_)));
    }
}
