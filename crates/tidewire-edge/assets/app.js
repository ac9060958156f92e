// Tidewire's demo page: one EventSource, drawn, logged and checked.

// ---- Bounds

const WINDOW_MS = 120_000; // what a chart shows
const BREAK_MS = 2_500; // figures come each second: a longer silence is drawn as a gap
const QUIET_MS = 3_000; // so long without a first figure, and the page says what to type
const STOPPED_MS = 10_000; // so long without another, too: a publisher that comes back needs time
const CHECK_MS = 5_000; // so long after coming back, the log says what the checks found
const RATE_SECONDS = 5;
const LOG_LINES_MAX = 200;
const RAW_EVENTS_MAX = 50;
const RAW_CHARACTERS_MAX = 1_200;
const TOPICS_MAX = 500;
const FILTERS_MAX = 99; // the protocol's 100, less the page's own
const FIGURES = 'machine.>';

const element = (id) => document.getElementById(id);

// ---- What the page knows

const stream = {
  /** @type {EventSource | null} */ source: null,
  /** @type {'connecting' | 'live' | 'reconnecting' | 'closed'} */ state: 'connecting',
  /** Since when it is in this state, as `performance.now()` counts. */ since: 0,
  wasLive: false,
  attempts: 0,
  cursor: '',
  /** What is followed beside the figures. @type {string[]} */ filters: [],
  /** @type {string[]} */ types: [],
};
const totals = { events: 0, gaps: 0, repeats: 0, reconnects: 0 };
/** By topic, its last number, and the run of the publisher in which that counts. */
const numbers = new Map();
/** The log, newest last: `{ time, kind, title, text }`. */
const lines = [];
/** By name, what charts draw: `{ time, value }` in order of time. */
const series = new Map();
/** By topic, the last figures of disks and network interfaces. */
const devices = new Map();
/** When the newest figure was taken, by the publisher's clock, and when it came, by ours. */
const newest = { time: 0, cameAt: 0 };

Object.defineProperty(window, 'tidewire', {
  get: () => ({
    state: stream.state,
    cursor: stream.cursor,
    ...totals,
    log: lines.map((line) => ({ ...line })),
    lastN: Object.fromEntries([...numbers].map(([topic, { n }]) => [topic, n])),
  }),
});

// ---- The stream: one EventSource, opened anew only where the filters change

function connect() {
  stream.source?.close();
  const address = new URL('v1/events', document.baseURI);
  for (const filter of [FIGURES, ...stream.filters]) address.searchParams.append('topic', filter);
  address.searchParams.set('envelope', 'cloudevents');
  if (stream.cursor) address.searchParams.set('last_event_id', stream.cursor);
  enter('connecting');
  const source = new EventSource(address);
  stream.source = source;
  source.addEventListener('tidewire.hello', onHello);
  source.addEventListener('tidewire.gap', onGap);
  source.addEventListener('tidewire.retry', onRetry);
  source.addEventListener('tidewire.cursor', (event) => moveTo(event.lastEventId));
  for (const type of new Set(['message', ...stream.types])) source.addEventListener(type, onEvent);
  source.addEventListener('error', onError);
}

function enter(state) {
  if (state === 'live') stream.wasLive = true;
  if (state !== stream.state) stream.since = performance.now();
  stream.state = state;
  redraw();
}

function onHello(event) {
  const { resume, edge } = parse(event.data) ?? {};
  let text = `${edge}: ${resume === 'live' ? 'from now on' : resume}, after ${event.lastEventId}`;
  if (stream.state === 'reconnecting' && stream.wasLive) {
    totals.reconnects += 1;
    if (stream.attempts > 1) text += `, ${stream.attempts} attempts`;
    log('good', `Live again in ${seconds(performance.now() - stream.since)}`, text);
    checkLater();
  } else {
    log('good', 'Connected', text);
  }
  if (resume === 'gap') stream.cursor = event.lastEventId;
  else moveTo(event.lastEventId);
  enter('live');
}

function onGap(event) {
  const { reason, requested, resumed_from: resumedFrom } = parse(event.data) ?? {};
  numbers.clear();
  stream.cursor = event.lastEventId;
  fault('gaps', `Gap: ${reason}`, `asked for after ${requested}, goes on after ${resumedFrom}`);
}

function onRetry(event) {
  log('wait', 'Asked to come back', String(parse(event.data)?.reason ?? event.data));
}

function onError(event) {
  if (event instanceof MessageEvent) return; // a published event of the type "error"
  if (stream.state !== 'reconnecting') {
    stream.attempts = 0;
    const title = stream.wasLive ? 'Connection lost' : 'No connection';
    log('wait', title, 'the browser tries again by itself');
  }
  stream.attempts += 1;
  const isRefused = stream.source.readyState === EventSource.CLOSED;
  if (isRefused) log('bad', 'Closed', 'the answer was no stream: the browser will not come back');
  enter(isRefused ? 'closed' : 'reconnecting');
}

function onEvent(event) {
  if (!(event instanceof MessageEvent)) return; // the browser's own "error" or "open"
  totals.events += 1;
  redraw();
  const { subject: topic, data } = parse(event.data) ?? {};
  if (typeof topic !== 'string') return log('bad', 'Not a CloudEvent', cut(event.data, 80));
  if (stream.filters.some((filter) => matches(filter, topic))) follow(event, topic, data);
  if (moveTo(event.lastEventId, topic) && matches(FIGURES, topic)) takeFigure(topic, data);
}

function takeFigure(topic, data) {
  if (!Number.isInteger(data?.n) || !Number.isInteger(data.sampled_unix_ms)) return;
  if (!isNext(topic, data)) return;
  const kind = topic.split('.')[1];
  if (!Object.hasOwn(take, kind)) return;
  Object.assign(newest, { time: data.sampled_unix_ms, cameAt: performance.now() });
  take[kind](data, newest.time, topic);
  redraw({ figures: true });
}

// ---- Checks: cursors rise, and every topic's numbers follow one another

/** Moves to a frame's cursor; false where that is a repeat. An event must go beyond the last. */
function moveTo(cursor, topic) {
  const [before, now] = [stream.cursor, cursor].map((text) => /^([0-9a-f]+)-(\d+)$/.exec(text));
  const step = before && now ? BigInt(now[2]) - BigInt(before[2]) : 1n; // another form is opaque
  if (before && now && before[1] !== now[1]) {
    fault('gaps', 'Another epoch, and no gap said so', `${cursor} after ${stream.cursor}`);
  } else if (step < 0n || (topic && step === 0n)) {
    fault('repeats', 'Repeat', `${topic ?? 'position'}: ${cursor} after ${stream.cursor}`);
    return false;
  }
  stream.cursor = cursor;
  return true;
}

/** Whether a figure follows its topic's last. A publisher that began anew counts anew. */
function isNext(topic, { run, n }) {
  const last = numbers.get(topic);
  const expected = last?.run === run ? last.n + 1 : n;
  if (n < expected) {
    fault('repeats', 'Repeat', `${topic}: number ${n} again, after ${last.n}`);
    return false;
  }
  if (n > expected) fault('gaps', 'Hole', `${topic}: ${n - expected} missing before number ${n}`);
  numbers.delete(topic);
  numbers.set(topic, { run, n });
  if (numbers.size > TOPICS_MAX) numbers.delete(numbers.keys().next().value);
  return true;
}

function fault(total, title, text) {
  totals[total] += 1;
  log('bad', title, text);
}

function checkLater() {
  const { events, ...others } = totals;
  setTimeout(() => {
    const isSame = Object.entries(others).every(([name, total]) => totals[name] === total);
    const count = totals.events - events;
    if (!isSame || !count || stream.state !== 'live') return;
    log('good', 'Checked', `${count} events since coming back: none missing, none twice`);
  }, CHECK_MS);
}

// ---- Figures into series

const take = {
  cpu({ total, cores }, time) {
    record('cpu', time, total);
    record('cores', time, cores);
  },
  memory(data, time) {
    record('memory', time, data.used_bytes);
    record('swap', time, data.swap_used_bytes);
    charts.memory.ceiling = data.total_bytes;
    const swap = data.swap_total_bytes ? `${bytes(data.swap_total_bytes)} swap` : 'no swap';
    const [available, total] = [data.available_bytes, data.total_bytes].map(bytes);
    write('memory-foot', `${available} available of ${total}, ${swap}`);
  },
  load(data, time) {
    record('load1', time, data.one_minute);
    record('load5', time, data.five_minutes);
    record('load15', time, data.fifteen_minutes);
  },
  disk(data, time, topic) {
    add('read', time, data.read_bytes_per_second);
    add('written', time, data.written_bytes_per_second);
    devices.set(topic, data);
  },
  network(data, time, topic) {
    const isLoopback = /^lo\d*$/.test(data.name); // what stays inside is listed, but not summed
    add('received', time, isLoopback ? 0 : data.received_bytes_per_second);
    add('sent', time, isLoopback ? 0 : data.sent_bytes_per_second);
    devices.set(topic, data);
  },
  host({ host, os, kernel, uptime_seconds: uptime, processes }) {
    const facts = [host, os, kernel && `kernel ${kernel}`, uptime && `up ${duration(uptime)}`];
    write('host', facts.filter(Boolean).join(' · '));
    write('load-foot', `${processes} processes`);
  },
};

function record(name, time, value) {
  if (!series.has(name)) series.set(name, []);
  const points = series.get(name);
  while (points.at(-1)?.time >= time) points.pop(); // the publisher's clock was set back
  while (points[0]?.time < time - WINDOW_MS - BREAK_MS) points.shift();
  points.push({ time, value });
}

/** Adds one device's share to the sum of its sample. */
function add(name, time, value) {
  const last = series.get(name)?.at(-1);
  if (last?.time === time) last.value += value;
  else record(name, time, value);
}

/** What a series says of a moment, or nothing where it was silent. */
function valueAt(name, time) {
  const point = series.get(name)?.findLast((candidate) => candidate.time <= time + 500);
  return point && time - point.time <= BREAK_MS ? point.value : undefined;
}

// ---- Numbers as people read them

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

function bytes(value) {
  const power = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), UNITS.length - 1);
  const scaled = value / 1_024 ** power;
  const isWhole = power === 0 || scaled >= 100 || Number.isInteger(scaled);
  return `${scaled.toFixed(isWhole ? 0 : 1)} ${UNITS[power]}`;
}

const rate = (value) => `${bytes(value)}/s`;
const percent = (value) => `${value.toFixed(1)} %`;
const hundredths = (value) => value.toFixed(2);
const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;
const whole = (value) => value.toLocaleString('en-GB');
const clock = (time) => new Date(time).toLocaleTimeString('en-GB');
const cut = (text, most) => (text.length <= most ? text
  : `${text.slice(0, most)} … (${whole(text.length - most)} more characters)`);

function duration(total) {
  const [days, hours, minutes] = [86_400, 3_600, 60].map((unit) => Math.floor(total / unit));
  if (days) return `${days} d ${hours % 24} h`;
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// ---- Charts

/** Round steps from 0 to at least `most`. */
function steps(most, base, choices) {
  const unit = base ** Math.floor(Math.log(most / 4) / Math.log(base));
  const step = choices.map((choice) => choice * unit).find((size) => size * 4 >= most);
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

const BINARY = Array.from({ length: 11 }, (_, power) => 2 ** power);
const byteSteps = (most) => steps(Math.max(most, 4_096), 1_024, BINARY);
const loadSteps = (most) => steps(Math.max(most, 1), 10, [1, 2, 2.5, 5, 10]);
const percentSteps = () => [0, 25, 50, 75, 100];

const charts = {
  cpu: { names: ['cpu'], steps: percentSteps, label: (value) => `${value} %` },
  cores: { draw: drawCores },
  memory: { names: ['memory', 'swap'], steps: byteSteps, label: bytes },
  load: { names: ['load1', 'load5', 'load15'], steps: loadSteps, label: (value) => `${value}` },
  network: { names: ['received', 'sent'], steps: byteSteps, label: rate },
  disk: { names: ['read', 'written'], steps: byteSteps, label: rate },
};
const readouts = [
  ['cpu-total', 'cpu', percent], ['memory-used', 'memory', bytes], ['memory-swap', 'swap', bytes],
  ['load-one', 'load1', hundredths], ['load-five', 'load5', hundredths],
  ['load-fifteen', 'load15', hundredths], ['network-in', 'received', rate],
  ['network-out', 'sent', rate], ['disk-read', 'read', rate], ['disk-written', 'written', rate],
];
const MARGIN = { left: 66, right: 4, top: 8, bottom: 22 };
let pointedAt = null; // how long before the newest figure the pointer stands, in milliseconds
let paint = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ['muted', 'grid', 'accent', 'accent-fill', 'second', 'third', 'cell', 'cell-floor'];
  paint = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`)]));
  paint.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  redraw({ figures: true });
}

function prepareCharts() {
  const sizes = new ResizeObserver(() => redraw({ figures: true }));
  for (const [name, chart] of Object.entries(charts)) {
    chart.canvas = element(`${name}-chart`);
    sizes.observe(chart.canvas);
    chart.canvas.addEventListener('pointermove', ({ offsetX }) => {
      const { left, right } = plotOf(chart.canvas);
      point(Math.min(Math.max((right - offsetX) / (right - left), 0), 1) * WINDOW_MS);
    });
    chart.canvas.addEventListener('pointerleave', () => point(null));
  }
}

function point(at) {
  pointedAt = at;
  redraw({ figures: true });
}

/** Where a chart's lines may run, and where a time lies there, in CSS pixels. */
function plotOf({ clientWidth, clientHeight }) {
  const [left, right] = [MARGIN.left, clientWidth - MARGIN.right];
  const x = (time) => right - ((newest.time - time) / WINDOW_MS) * (right - left);
  return { left, right, top: MARGIN.top, bottom: clientHeight - MARGIN.bottom, x };
}

/** A context cleared, in CSS pixels, as sharp as the screen. */
function blank(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  Object.assign(context, { font: paint.font, fillStyle: paint.muted });
  Object.assign(context, { textAlign: 'left', textBaseline: 'middle' });
  return context;
}

function drawChart(chart) {
  const context = blank(chart.canvas);
  const plot = plotOf(chart.canvas);
  const all = chart.names.map((name) => series.get(name) ?? []);
  const most = Math.max(chart.ceiling ?? 0, ...all.flat().map(({ value }) => value));
  const levels = chart.steps(most);
  const y = (value) => plot.bottom - (value / levels.at(-1)) * (plot.bottom - plot.top);
  for (const level of levels) {
    const height = Math.round(y(level)) + 0.5;
    stroke(context, paint.grid, [plot.left, height], [plot.right, height]);
    context.fillText(chart.label(level), 0, height);
  }
  drawTimes(context, plot);
  drawPointer(context, plot, plot.top, plot.bottom);
  context.save();
  context.beginPath();
  context.rect(plot.left, 0, plot.right - plot.left + 2, plot.bottom + 2);
  context.clip();
  const colours = [paint.accent, paint.second, paint.third];
  for (const [index, points] of [...all.entries()].reverse()) {
    for (const part of unbroken(points)) {
      const places = part.map(({ time, value }) => [plot.x(time), y(value)]);
      drawLine(context, places, colours[index], index, plot.bottom);
    }
  }
  context.restore();
}

function drawTimes(context, { left, right, bottom, x }) {
  if (!newest.time) return;
  context.textAlign = 'center';
  const every = right - left < 330 ? 60_000 : 30_000;
  const first = Math.ceil((newest.time - WINDOW_MS) / every) * every;
  for (let time = first; time <= newest.time; time += every) {
    const at = Math.round(x(time)) + 0.5;
    stroke(context, paint.grid, [at, bottom], [at, bottom + 4]);
    if (at > left + 24 && at < right - 22) context.fillText(clock(time), at, bottom + 13);
  }
}

function drawLine(context, places, colour, index, bottom) {
  if (places.length === 1) places.push([places[0][0] + 1.5, places[0][1]]);
  context.lineJoin = 'round';
  if (index === 2) context.setLineDash([2, 3]);
  stroke(context, colour, ...places);
  context.setLineDash([]);
  if (index > 0) return;
  context.lineTo(places.at(-1)[0], bottom);
  context.lineTo(places[0][0], bottom);
  context.fillStyle = paint['accent-fill'];
  context.fill();
}

function stroke(context, colour, ...places) {
  context.beginPath();
  for (const place of places) context.lineTo(...place);
  context.strokeStyle = colour;
  context.lineWidth = colour === paint.grid || colour === paint.muted ? 1 : 1.75;
  context.stroke();
}

function drawPointer(context, { left, right }, top, bottom) {
  if (pointedAt === null) return;
  const at = Math.round(right - (pointedAt / WINDOW_MS) * (right - left)) + 0.5;
  stroke(context, paint.muted, [at, top], [at, bottom]);
}

/** The parts of a series between its silences. */
function unbroken(points) {
  const parts = [];
  points.forEach((each, index) => {
    if (index === 0 || each.time - points[index - 1].time > BREAK_MS) parts.push([]);
    parts.at(-1).push(each);
  });
  return parts;
}

/** A row for each core, a cell for each second, the fuller the darker. */
function drawCores(chart) {
  const context = blank(chart.canvas);
  const { left, x, ...plot } = plotOf(chart.canvas);
  const points = series.get('cores') ?? [];
  const cores = points.at(-1)?.value.length ?? 0;
  const height = chart.canvas.clientHeight / Math.max(cores, 1);
  const space = height >= 8 ? 2 : Number(height >= 4);
  points.forEach(({ time, value }, index) => {
    const before = points[index - 1]?.time ?? 0;
    const from = Math.round(x(time - before <= BREAK_MS ? before : time - 1_000));
    const [start, width] = [Math.max(from, left), Math.round(x(time)) - Math.max(from, left)];
    value.forEach((share, core) => {
      for (const colour of [paint['cell-floor'], `rgb(${paint.cell} / ${share / 100})`]) {
        context.fillStyle = colour;
        context.fillRect(start, core * height, Math.max(width, 0), height - space);
      }
    });
  });
  context.fillStyle = paint.muted;
  for (let core = 0; core < cores; core += Math.ceil(14 / height)) {
    context.fillText(`core ${core}`, 0, core * height + Math.max((height - space) / 2, 6));
  }
  drawPointer(context, { left, ...plot }, 0, chart.canvas.clientHeight);
}

// ---- Drawing: at most once a frame, charts only where figures or the pointer moved

let isDrawing = false;
let isStale = true;

function redraw({ figures = false } = {}) {
  isStale ||= figures;
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    drawStatus();
    drawFollowed();
    if (isStale) drawFigures();
    isStale = false;
  });
}

function write(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

const tag = (name, textContent) => Object.assign(document.createElement(name), { textContent });
const span = (className, text) => Object.assign(tag('span', text), { className });

function row(...children) {
  const item = document.createElement('li');
  item.append(...children);
  return item;
}

function drawStatus() {
  element('state').dataset.state = stream.state;
  element('connect-again').hidden = stream.state !== 'closed';
  write('state-text', stream.state);
  write('cursor', stream.cursor || '–');
  for (const [name, total] of Object.entries(totals)) {
    write(name, whole(total));
    const isFault = total > 0 && (name === 'gaps' || name === 'repeats');
    element(name).parentElement.classList.toggle('bad', isFault);
  }
}

function drawFigures() {
  const moment = newest.time - (pointedAt ?? 0);
  for (const [id, name, format] of readouts) {
    const value = valueAt(name, moment);
    write(id, value === undefined ? '–' : format(value));
  }
  const cores = valueAt('cores', moment) ?? [];
  const most = Math.max(...cores);
  const busiest = `${cores.length} cores, busiest ${cores.indexOf(most)}: ${percent(most)}`;
  write('cores-text', cores.length ? busiest : 'By core');
  write('pointed', pointedAt === null || !newest.time ? '' : `at ${clock(moment)}`);
  for (const chart of Object.values(charts)) (chart.draw ?? drawChart)(chart);
  for (const [topic, { sampled_unix_ms: time }] of devices) {
    if (Math.abs(newest.time - time) > WINDOW_MS) devices.delete(topic);
  }
  const all = [...devices.values()].sort((a, b) => a.name.localeCompare(b.name));
  element('disks').replaceChildren(...all.filter((it) => 'used_bytes' in it).map(diskRow));
  element('networks').replaceChildren(...all.filter((it) => !('used_bytes' in it)).map(networkRow));
}

function diskRow({ name, used_bytes: used, total_bytes: total }) {
  const meter = Object.assign(document.createElement('meter'), { max: total, value: used });
  meter.setAttribute('aria-label', `${name} in use`);
  return row(span('name', name), meter, span('value', `${bytes(used)} of ${bytes(total)}`));
}

function networkRow({ name, received_bytes_per_second: received, sent_bytes_per_second: sent }) {
  const [into, out] = [span('value', `in ${rate(received)}`), span('value', `out ${rate(sent)}`)];
  return row(span('name', name), into, out);
}

// ---- The log

/** @param {'good' | 'wait' | 'bad' | 'note'} kind */
function log(kind, title, text) {
  const time = Date.now();
  lines.push({ time, kind, title, text });
  if (lines.length > LOG_LINES_MAX) lines.shift();
  const said = document.createElement('div');
  said.append(tag('b', title), span('', text));
  const item = row(tag('time', clock(time)), said);
  item.className = kind;
  element('log').prepend(item);
  if (element('log').children.length > LOG_LINES_MAX) element('log').lastElementChild.remove();
  redraw();
}

// ---- Following other topics

const followed = { waiting: [], isPaused: false, count: 0 };

/** Whether a filter means a topic: `*` is any one token, `>` at the end one or more. */
function matches(filter, topic) {
  const [wanted, tokens] = [filter.split('.'), topic.split('.')];
  const hasRest = wanted.at(-1) === '>';
  if (hasRest) wanted.pop();
  const fits = hasRest ? tokens.length > wanted.length : tokens.length === wanted.length;
  return fits && wanted.every((token, index) => token === '*' || token === tokens[index]);
}

/** What is wrong with a filter, by the protocol's rules; nothing, for most. */
function problemOf(filter) {
  const tokens = filter.split('.');
  if (new TextEncoder().encode(filter).length > 255) return 'is longer than 255 bytes';
  if (tokens.length > 16) return 'has more than 16 tokens';
  if (tokens.includes('')) return 'has an empty token';
  if (tokens.some((token) => /[*>]/.test(token) && token.length > 1)) return 'has a mixed token';
  return tokens.slice(0, -1).includes('>') ? 'has a > that is not at its end' : '';
}

function readForm() {
  const words = (id) => [...new Set(element(id).value.split(/[\s,]+/).filter(Boolean))];
  const [filters, types] = [words('filters'), words('types')];
  const problems = { filters: '', types: '' };
  const filter = filters.find(problemOf);
  const type = types.find((name) => !/^(?!tidewire\.)[\w.~:/-]{1,64}$/.test(name));
  if (filter) problems.filters = `The filter ${cut(filter, 60)} ${problemOf(filter)}. `;
  if (filters.length > FILTERS_MAX) problems.filters = `At most ${FILTERS_MAX} filters. `;
  if (type) problems.types = `${cut(type, 60)} cannot be the type of an event.`;
  for (const [id, problem] of Object.entries(problems)) {
    element(id).setAttribute('aria-invalid', String(problem !== ''));
  }
  write('follow-problem', problems.filters + problems.types);
  return problems.filters || problems.types ? null : { filters, types };
}

function onFollow(event) {
  event.preventDefault();
  const wanted = readForm();
  if (!wanted) return;
  Object.assign(stream, wanted);
  Object.assign(followed, { waiting: [], count: 0 });
  element('raw').replaceChildren();
  element('pause').disabled = wanted.filters.length === 0;
  pause(false);
  const types = wanted.types.length ? `; types ${wanted.types.join(' ')}` : '';
  log('note', 'Filters changed', [FIGURES, ...wanted.filters].join(' ') + types);
  connect();
}

function follow({ lastEventId, type }, topic, data) {
  followed.count += 1;
  followed.waiting.push({ cursor: lastEventId, topic, type, data });
  if (followed.waiting.length > RAW_EVENTS_MAX) followed.waiting.shift();
}

function drawFollowed() {
  const count = `${whole(followed.count)} ${followed.count === 1 ? 'event' : 'events'} so far`;
  write('follow-state', stream.filters.length ? count : 'nothing but the figures yet');
  if (followed.isPaused) return;
  const list = element('raw');
  for (const event of followed.waiting.splice(0)) list.prepend(followedRow(event));
  while (list.children.length > RAW_EVENTS_MAX) list.lastElementChild.remove();
}

function followedRow({ cursor, topic, type, data }) {
  const head = document.createElement('p');
  head.append(tag('code', cursor), tag('b', topic), span('', type));
  let text = typeof data === 'string' ? data : JSON.stringify(data);
  if (typeof data !== 'string' && text.length > 160) text = JSON.stringify(data, null, 2);
  return row(head, tag('pre', cut(text, RAW_CHARACTERS_MAX)));
}

function pause(isPaused) {
  followed.isPaused = isPaused;
  element('pause').setAttribute('aria-pressed', String(isPaused));
  redraw();
}

// ---- Each second: the rate, and whether there is silence

const counts = [0];

function tick() {
  counts.push(totals.events);
  if (counts.length > RATE_SECONDS + 1) counts.shift();
  write('rate', ((counts.at(-1) - counts[0]) / (counts.length - 1)).toFixed(1));
  const now = performance.now();
  const isLive = stream.state === 'live';
  write('state-since', isLive ? '' : `${Math.round((now - stream.since) / 1_000)} s`);
  const silence = now - Math.max(stream.since, newest.cameAt);
  const [patience, title] = newest.time ? [STOPPED_MS, 'The figures have stopped']
    : [QUIET_MS, 'Nothing to draw yet'];
  const isQuiet = isLive && silence > patience;
  write('empty-title', title);
  element('empty').hidden = !isQuiet;
}

// ---- Copying commands

async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code); // no clipboard without TLS: copy what is selected
    document.execCommand('copy');
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1_500);
}

// ---- Beginning

write('curl', `curl -N '${new URL('v1/events?topic=%3E', document.baseURI)}'`);
element('follow').addEventListener('submit', onFollow);
element('pause').addEventListener('click', () => pause(!followed.isPaused));
element('connect-again').addEventListener('click', connect);
for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', () => copy(button));
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', readColours);
prepareCharts();
readColours();
setInterval(tick, 1_000);
connect();
