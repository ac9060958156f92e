//! A page with a browser's own `EventSource`, through all that becomes of a hub in its life.

use tokio::time::timeout;

use crate::{
    browser::Browser,
    client::{Client, Program, Said},
    gate::PATIENCE,
    hub::{Form, Hub},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_chromium_comes_back_by_itself_without_a_gap_or_a_repeat() {
    comes_back_by_itself(Browser::Chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make setup-clients`; `make test-clients` runs it"]
async fn a_page_in_firefox_comes_back_by_itself_without_a_gap_or_a_repeat() {
    comes_back_by_itself(Browser::Firefox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_chromium_stops_at_a_bad_request_and_can_say_why() {
    stops_and_says_why(Browser::Chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make setup-clients`; `make test-clients` runs it"]
async fn a_page_in_firefox_stops_at_a_bad_request_and_can_say_why() {
    stops_and_says_why(Browser::Firefox).await;
}

async fn comes_back_by_itself(browser: Browser) {
    let lives = ["--connection-age-max", "3s", "--drain-window", "1s"];
    // Who has missed events needs the log.
    let bounds = ["--connections-max", "1", "--window-events-max", "1"];
    let mut hub = Hub::on_nats(&[lives, bounds].concat()).await;
    let mut page = Client::start(Program::Page(browser, "native.html"), &hub, "").await;
    page.gate.until(|seen| seen.begun == 1).await;
    hub.publish(Form::Plain, 0..10).await;
    page.expect(0..10).await;

    is_told(&mut page, "age").await;
    hub.publish(Form::Plain, 10..20).await;
    page.expect(10..20).await;

    page.gate.hold();
    is_told(&mut page, "age").await;
    let occupant = hub.occupy().await;
    page.gate.release();
    is_told(&mut page, "full").await;
    hub.publish(Form::Plain, 20..30).await;
    drop(occupant);
    page.expect(20..30).await;

    assert!(hub.edge.terminate().await.success());
    is_told(&mut page, "draining").await;
    hub.publish(Form::Plain, 30..40).await;
    hub.edge.launch_again();
    hub.edge.ready().await;
    page.expect(30..40).await;

    hub.edge.kill();
    hub.publish(Form::Plain, 40..50).await;
    hub.edge.launch_again();
    hub.edge.ready().await;
    page.expect(40..50).await;

    page.gate.hold();
    is_told(&mut page, "age").await;
    hub.publish(Form::Plain, 50..60).await;
    hub.nats.as_mut().unwrap().kill(0);
    page.gate.release();
    is_told(&mut page, "unavailable").await;
    let nats = hub.nats.as_mut().unwrap();
    nats.start_node(0);
    nats.wait_healthy(0).await;
    page.expect(50..60).await;
}

/// Waits until the page is told to come back for this reason; others may come before.
async fn is_told(page: &mut Client, wanted: &str) {
    let told = async {
        loop {
            match page.says().await {
                Said::Retry(reason) if reason == wanted => return,
                Said::Retry(_) => {}
                other => panic!("{other:?} while {wanted} is waited for"),
            }
        }
    };
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("it was never told {wanted}"));
}

async fn stops_and_says_why(browser: Browser) {
    let hub = Hub::embedded(&[]).await;
    let path = "/v1/events?topic=orders..eu";
    let mut page = Client::start_at(Program::Page(browser, "native.html"), &hub, path).await;
    let Said::Stopped(why) = page.says().await else { panic!("it goes on") };
    assert!(why.starts_with("400 topic: "), "{why}");
}
