//! What a subscriber posts in place of a query: some proxies hold back the stream of a GET only.

use std::time::Duration;

use axum::extract::{FromRequest as _, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use tidewire_core::Invalid;
use tokio::time::timeout;

use crate::problem::Problem;

/// Bytes of a posted body. The most filters of the greatest length, as JSON, have 26,000.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024;

/// Reads a body that must come within a time, as the query that says the same.
pub(crate) async fn query(request: Request, wait_max: Duration) -> Result<String, Problem> {
    let is_json = match media_type(request.headers()).as_deref() {
        Some("application/json") => true,
        Some("application/x-www-form-urlencoded") => false,
        _ => {
            let wanted = "post `application/x-www-form-urlencoded` or `application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted.into()));
        }
    };
    let body = match timeout(wait_max, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(refusal)) if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body has more than {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Ok(Err(_)) => return Err(Invalid::new("body", "cannot be read to its end").into()),
        Err(_) => {
            let detail = "the body has not come in time".into();
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    Ok(if is_json { query_of_json(&body)? } else { query_of_form(&body)? })
}

/// Without parameters such as a charset: it is UTF-8 in any case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, _) = value.split_once(';').unwrap_or((value, ""));
    Some(media_type.trim().to_ascii_lowercase())
}

fn query_of_form(body: &[u8]) -> Result<String, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid::new("body", "is not UTF-8"))?;
    Ok(text.to_owned())
}

/// An object's fields become parameters, and an array's elements parameters of one name.
fn query_of_json(body: &[u8]) -> Result<String, Invalid> {
    let object: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| Invalid::new("body", format!("is no JSON object: {error}")))?;
    let mut query = String::new();
    for (name, value) in object {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(is_so) => u8::from(is_so).to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    let reason = "is neither a string, a number, `true` or `false`, nor an array \
                                  of those";
                    return Err(Invalid::new(name, reason));
                }
            };
            let (name, text) = (encode(&name), encode(&text));
            query.push_str(&format!("{name}={text}&"));
        }
    }
    Ok(query)
}

fn encode(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{From, SubscribeRequest};

    #[test]
    fn json_says_what_a_query_says() {
        let json = r#"{"topic": ["a.>", "b&c=%41+é"], "from": "last:5", "control": false,
                       "heartbeat": 7, "_": "x"}"#;
        let query = query_of_json(json.as_bytes()).unwrap();
        let request = SubscribeRequest::parse(&query, &HeaderMap::new()).unwrap();
        let filters = request.interest.filters().iter().map(|filter| filter.as_str());
        assert_eq!(filters.collect::<Vec<_>>(), ["a.>", "b&c=%41+é"]);
        assert_eq!(request.from, From::Last(5));
        assert!(!request.control);
        assert_eq!(request.heartbeat, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_by_name() {
        let kinds = "is neither a string, a number, `true` or `false`, nor an array of those";
        for (body, field, reason) in [
            ("", "body", "is no JSON object: EOF"),
            ("[]", "body", "is no JSON object: invalid type"),
            (r#"{"topic": "a"} x"#, "body", "is no JSON object: trailing"),
            (r#"{"topic": null}"#, "topic", kinds),
            (r#"{"topic": [["a"]]}"#, "topic", kinds),
            (r#"{"from": {"last": 5}}"#, "from", kinds),
        ] {
            let refusal = query_of_json(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.field, field, "{body}");
            assert!(refusal.reason.starts_with(reason), "{body}: {}", refusal.reason);
        }
        assert_eq!(query_of_form(b"topic=\xff").unwrap_err().to_string(), "body: is not UTF-8");
    }
}
