// Curves as SVG: drawn anew when numbers come, read with the mouse or, when focused, with the arrow keys.
const ns = 'http://www.w3.org/2000/svg';
const W = 430, H = 210, left = 52, right = 8, top = 8, bottom = 24;

export function el(name, attributes = {}, ...children) {
  const node = ['svg', 'g', 'path', 'line', 'text', 'title', 'circle'].includes(name) && attributes.ns !== 'html'
    ? document.createElementNS(ns, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'ns' || value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return value.toLocaleString('en', size >= 1000 ? { maximumFractionDigits: 0 } : { minimumFractionDigits: 4, maximumFractionDigits: 4 });
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough)), part = rough / power;
  const step = power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
  const all = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) all.push(k * step);
  return all;
}

function label(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(0) : String(+value.toPrecision(6));
}

// An exponential mean without the bias of its start: what TensorBoard calls smoothing.
export function smooth(points, weight) {
  let sum = 0, norm = 0;
  return points.map(([step, value]) => {
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return [step, sum / norm];
  });
}

/** A figure of curves. curves: [{name, points: [[step, value]], color}], options: {title, log, smoothing, marks, zero}. */
export function chart(curves, options) {
  const shown = curves.map(curve => ({ ...curve, points: curve.points.filter(point => !options.log || point[1] > 0) })).filter(curve => curve.points.length);
  const caption = el('figcaption', {}, el('h3', {}, options.title));
  const read = el('p', { class: 'read', 'aria-live': 'polite' });
  if (!shown.length) return el('figure', {}, caption, el('p', { class: 'empty' }, options.log ? 'nothing above zero' : 'nothing yet'));
  const drawn = shown.map(curve => ({ ...curve, mean: options.smoothing > 0 && curve.points.length > 4 ? smooth(curve.points, options.smoothing) : null }));
  const steps = drawn.flatMap(curve => curve.points.map(point => point[0])), values = drawn.flatMap(curve => curve.points.map(point => point[1]));
  const scale = options.log ? Math.log10 : value => value;
  let low = scale(Math.min(...values)), high = scale(Math.max(...values));
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) { low -= Math.max(1e-9, Math.abs(low) * .1); high += Math.max(1e-9, Math.abs(high) * .1); }
  const first = Math.min(...steps), last = Math.max(...steps);
  const x = step => left + (last > first ? (step - first) / (last - first) : .5) * (W - left - right);
  const y = value => top + (high - scale(value)) / (high - low) * (H - top - bottom);
  const path = points => points.map(([step, value], i) => `${i ? 'L' : 'M'}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join('');
  const about = drawn.map(curve => `${curve.name} from ${number(curve.points[0][1])} to ${number(curve.points.at(-1)[1])}`).join('; ');
  const svg = el('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', tabindex: 0, 'aria-label': `${options.title}: ${about}. Steps ${first} to ${last}. Arrow keys read single steps.` });
  const rows = options.log ? ticks(low, high, 4).map(tick => 10 ** tick) : ticks(low, high, 4);
  for (const tick of rows) svg.append(el('line', { class: 'grid', x1: left, x2: W - right, y1: y(tick), y2: y(tick) }),
    el('text', { x: left - 5, y: y(tick) + 4, 'text-anchor': 'end' }, label(tick)));
  const columns = last > first ? ticks(first, last, 5).filter(Number.isInteger) : [first];
  for (const tick of columns) svg.append(el('text', { x: x(tick), y: H - 7, 'text-anchor': x(tick) > W - right - 14 ? 'end' : 'middle' }, label(tick)));
  for (const mark of options.marks ?? []) if (mark >= first && mark <= last)
    svg.append(el('line', { class: 'mark', x1: x(mark), x2: x(mark), y1: top, y2: H - bottom }, el('title', {}, `checkpoint ${mark}`)));
  for (const curve of drawn) {
    svg.append(el('path', { class: `curve s${curve.color % 6}${curve.mean ? ' raw' : ''}`, d: path(curve.points) }));
    if (curve.mean) svg.append(el('path', { class: `curve s${curve.color % 6}`, d: path(curve.mean) }));
    if (curve.points.length === 1) svg.append(el('circle', { class: `curve s${curve.color % 6}`, cx: x(curve.points[0][0]), cy: y(curve.points[0][1]), r: 3 }));
  }
  const cursor = el('line', { class: 'cursor', y1: top, y2: H - bottom, visibility: 'hidden' });
  svg.append(cursor);
  const stops = [...new Set(steps)].sort((a, b) => a - b);
  let at = stops.length - 1;
  const show = index => {
    at = Math.max(0, Math.min(stops.length - 1, index));
    const step = stops[at];
    cursor.setAttribute('x1', x(step)); cursor.setAttribute('x2', x(step)); cursor.setAttribute('visibility', 'visible');
    read.replaceChildren(`step ${step.toLocaleString('en')}`, ...drawn.flatMap(curve => {
      const found = curve.points.findLast(point => point[0] <= step);
      return found ? [' · ', el('span', { class: `t${curve.color % 6}` }, `${curve.name} ${number(found[1])}`)] : [];
    }));
  };
  const hide = () => { cursor.setAttribute('visibility', 'hidden'); rest(); };
  const rest = () => read.replaceChildren(...drawn.flatMap((curve, i) => [i ? ' · ' : '', el('span', { class: `t${curve.color % 6}` }, `${curve.name} ${number(curve.points.at(-1)[1])}`)]));
  svg.addEventListener('mousemove', event => {
    const box = svg.getBoundingClientRect(), where = (event.clientX - box.left) / box.width * W;
    let best = 0;
    stops.forEach((step, i) => { if (Math.abs(x(step) - where) < Math.abs(x(stops[best]) - where)) best = i; });
    show(best);
  });
  svg.addEventListener('mouseleave', hide);
  svg.addEventListener('blur', hide);
  svg.addEventListener('keydown', event => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(at + move);
  });
  rest();
  return el('figure', {}, caption, svg, read);
}

/** A small curve without axes. */
export function spark(points, title) {
  if (points.length < 2) return el('span', { class: 'empty' }, '–');
  const values = points.map(point => point[1]), low = Math.min(...values), high = Math.max(...values);
  const d = points.map(([, value], i) => `${i ? 'L' : 'M'}${(i / (points.length - 1) * 116 + 2).toFixed(1)} ${(high > low ? 22 - (value - low) / (high - low) * 20 : 12).toFixed(1)}`).join('');
  const svg = el('svg', { viewBox: '0 0 120 24', role: 'img', 'aria-label': title });
  svg.style.width = '7.5rem';
  svg.append(el('path', { class: 'curve s0', d }));
  return svg;
}
