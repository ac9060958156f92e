// npm `eventsource`: prints every message's id and data until it has seen the last one.
// Usage: node eventsource.mjs URL LAST_DATA
import { EventSource } from "eventsource";

const [url, last] = process.argv.slice(2);
const source = new EventSource(url);
source.onopen = () => console.log("open");
source.onmessage = (event) => {
  console.log(`event ${event.lastEventId} ${event.data}`);
  if (event.data === last) {
    source.close();
  }
};
source.addEventListener("tidewire.gap", (event) => console.log(`gap ${event.data}`));
