// What a page tells the test, in lines and in order; the test's server takes them.
const waiting = [];
let sending = false;

export async function say(line) {
  waiting.push(line);
  if (sending) return;
  sending = true;
  while (waiting.length > 0) {
    const body = waiting.splice(0).join("\n");
    await fetch("/said", { method: "POST", body });
  }
  sending = false;
}

// What a page subscribes to stands behind its `#`.
export const url = location.hash.slice(1);
