// npm `eventsource`: prints every message's id and data until it has seen the last one, and that it
// stopped where it did. `reconnecting` puts npm `reconnecting-eventsource` over it.
// Usage: node eventsource.mjs URL LAST_DATA [eventsource|eventsource-5] [reconnecting]
const [url, last, library = "eventsource", reconnecting] = process.argv.slice(2);
const { EventSource } = await import(library);

const source = reconnecting ? await reconnectingSource() : new EventSource(url);
// It waits for its next try with a timer that keeps no process alive; here nothing else would.
const alive = setInterval(() => {}, 60_000);
source.onopen = () => console.log("open");
source.onerror = () => {
  // The one above never stops, and tells of no other end than the first.
  if (!reconnecting && source.readyState === EventSource.CLOSED) console.log("stopped");
};
// Not `onmessage`: reconnecting-eventsource keeps the id of what it has a listener for.
source.addEventListener("message", (event) => {
  console.log(`event ${event.lastEventId} ${event.data}`);
  if (event.data === last) {
    source.close();
    clearInterval(alive);
  }
});
source.addEventListener("tidewire.gap", (event) => console.log(`gap ${event.data}`));

async function reconnectingSource() {
  const { default: module } = await import("reconnecting-eventsource");
  return new (module.default ?? module)(url, { eventSourceClass: EventSource });
}
