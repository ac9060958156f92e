//! Rust subscribers that others wrote: prints what each sees, a line for each thing.
//!
//! Usage: tidewire-test-clients eventsource-client|reqwest-eventsource URL

use std::{env, time::Duration};

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;
use reqwest_eventsource::{Event, EventSource};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [library, url] = env::args().skip(1).collect::<Vec<_>>().try_into().expect("two arguments");
    match library.as_str() {
        "eventsource-client" => with_eventsource_client(&url).await,
        "reqwest-eventsource" => with_reqwest_eventsource(&url).await,
        _ => panic!("{library} is not here"),
    }
    println!("stopped");
}

async fn with_eventsource_client(url: &str) {
    let transport = launchdarkly_sdk_transport::HyperTransport::builder();
    let reconnect = ReconnectOptions::reconnect(true).delay(Duration::from_millis(100)).build();
    let client = ClientBuilder::for_url(url).expect("a URL").reconnect(reconnect);
    let client = client.build_with_transport(transport.build_http().expect("a transport"));
    let mut stream = client.stream();
    while let Some(seen) = stream.next().await {
        match seen {
            Ok(SSE::Connected(_)) => println!("open"),
            Ok(SSE::Event(event)) => said(&event.event_type, event.id.as_deref(), &event.data),
            Ok(SSE::Comment(_)) => {}
            Err(error) => eprintln!("{error:?}"),
        }
    }
}

async fn with_reqwest_eventsource(url: &str) {
    let mut source = EventSource::get(url);
    while let Some(seen) = source.next().await {
        match seen {
            Ok(Event::Open) => println!("open"),
            Ok(Event::Message(event)) => said(&event.event, Some(&event.id), &event.data),
            Err(error) => eprintln!("{error:?}"),
        }
    }
}

fn said(event: &str, id: Option<&str>, data: &str) {
    match event {
        "message" => println!("event {} {data}", id.unwrap_or_default()),
        "tidewire.gap" => println!("gap {data}"),
        _ => {}
    }
}
