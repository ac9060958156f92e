// The status page in a real Chromium. Prints a line of JSON for each thing it is asked on standard
// input: `see TEXT` until the page shows it, `shot {"path":FILE,"width":N,"dark":BOOLEAN}`. Each answer
// says what the page shows: its link, its figures by their names, and the rows of its tables.
// Usage: CHROMIUM=/path/to/chromium node status.mjs URL
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [url] = process.argv.slice(2);
const PATIENCE_MS = 60_000;
const HEIGHT = 900;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: HEIGHT } });
const [troubles, requests] = [[], []];
page.on("pageerror", (error) => troubles.push(String(error)));
page.on("console", (line) => {
  if (line.type() === "error" && !/net::ERR_/.test(line.text())) troubles.push(line.text());
});
page.on("request", (request) => requests.push(request.url()));
await page.goto(url);

const shown = () => page.evaluate(() => {
  const text = (node) => node.textContent.trim();
  const cells = (row) => [...row.cells].map(text);
  const rows = (id) => [...document.getElementById(id).tBodies[0].rows].map(cells);
  return {
    link: document.getElementById("link").dataset.state,
    figures: Object.fromEntries([...document.querySelectorAll(".tile")].map((tile) =>
      [text(tile.querySelector("h2")), text(tile.querySelector(".figure"))])),
    drawn: document.querySelectorAll("svg path[d^=M]").length,
    slowest: rows("slowest"),
    refusals: rows("refusals"),
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
});
const say = (answer) => console.log(JSON.stringify(answer));

async function shot({ path, width, dark }) {
  await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
  await page.setViewportSize({ width, height: HEIGHT });
  await page.screenshot({ path, fullPage: true });
}

say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(" ");
  const argument = rest.join(" ");
  try {
    if (command === "see") await page.getByText(argument).first().waitFor({ timeout: PATIENCE_MS });
    if (command === "shot") await shot(JSON.parse(argument));
    say({ ...(await shown()), troubles, requests });
  } catch (error) {
    say({ error: String(error), ...(await shown()), troubles, requests });
  }
}
await browser.close();
