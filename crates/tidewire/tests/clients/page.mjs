// The demonstration page in a real Chromium. Prints a line of JSON for each thing it is asked on
// standard input: `wait {"events":N}` until the page has seen N more events, `follow FILTERS`,
// `see TEXT` until the page shows it, `shot FILE`.
// Usage: CHROMIUM=/path/to/chromium node page.mjs URL
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [url] = process.argv.slice(2);
const PATIENCE_MS = 60_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
// A hub with TLS has a certificate that nobody vouches for.
const page = await browser.newPage({
  viewport: { width: 1280, height: 1000 },
  ignoreHTTPSErrors: true,
});
const troubles = [];
page.on("pageerror", (error) => troubles.push(String(error)));
page.on("console", (line) => {
  // A browser reports the hub's absence by itself; anything else is the page's fault.
  if (line.type() === "error" && !/net::ERR_/.test(line.text())) troubles.push(line.text());
});
await page.goto(url);

const state = () => page.evaluate(() => ({
  ...JSON.parse(JSON.stringify(window.tidewire)),
  protocol: performance.getEntriesByType("navigation")[0].nextHopProtocol,
}));
const say = (answer) => console.log(JSON.stringify(answer));

async function waitFor({ events }) {
  const before = (await state()).events;
  await page.waitForFunction(
    (wanted) => window.tidewire.state === "live" && window.tidewire.events >= wanted,
    before + events,
    { timeout: PATIENCE_MS },
  );
}

say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(" ");
  const argument = rest.join(" ");
  try {
    if (command === "wait") await waitFor(JSON.parse(argument));
    if (command === "follow") await follow(argument);
    if (command === "see") await page.getByText(argument).first().waitFor({ timeout: PATIENCE_MS });
    if (command === "shot") await page.screenshot({ path: argument, fullPage: true });
    say({ ...(await state()), troubles });
  } catch (error) {
    say({ error: String(error), ...(await state()), troubles });
  }
}
await browser.close();

async function follow(filters) {
  await page.getByLabel("Filters").fill(filters);
  await page.getByRole("button", { name: "Follow" }).click();
}
