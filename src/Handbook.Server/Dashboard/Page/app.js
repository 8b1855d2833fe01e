// Runs of this server's folder. Every text that comes from a run is put in as text, never as markup.
import { chart, el, number, spark } from './charts.js';
import { playground } from './playground.js';
import { samples } from './samples.js';

const main = document.getElementById('main'), state = document.getElementById('state');
const settings = { log: false, smoothing: 0, chosen: new Set(), filter: '' };
let timer = 0, visit = 0, drawn = null;

async function get(path) {
  const answer = await fetch(path);
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.error ?? `status ${answer.status}`);
  return json;
}

const link = (id, part = '') => `#/run/${encodeURIComponent(id)}${part ? `/${part}` : ''}`;
const run = (id, part = '', more = '') => get(`api/run?id=${encodeURIComponent(id)}${part ? `&part=${part}` : ''}${more}`);

function time(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const s = Math.round(seconds), two = value => String(value).padStart(2, '0');
  return s >= 86400 ? `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h` : s >= 3600
    ? `${Math.floor(s / 3600)}:${two(Math.floor(s % 3600 / 60))}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

const pill = standing => el('span', { class: `pill ${standing}` }, standing);

// ---- the list

async function list() {
  const { folder, runs } = await get('api/runs');
  document.getElementById('folder').textContent = folder;
  document.title = `Runs in ${folder}`;
  if (!runs.length) return [el('p', { class: 'empty' }, 'There is no run yet. It appears here as soon as its data is read.')];
  const wanted = runs.filter(one => one.id.toLowerCase().includes(settings.filter.toLowerCase()));
  const compare = el('button', { type: 'button', disabled: settings.chosen.size < 2, onclick: () => {
    location.hash = `#/compare/${[...settings.chosen].map(encodeURIComponent).join(',')}`;
  } }, 'Compare the chosen runs');
  const filter = el('input', { type: 'search', id: 'filter', value: settings.filter, oninput: event => { settings.filter = event.target.value; refresh(); } });
  const head = ['', 'Run', 'Method', 'State', 'Step', 'Left', 'Loss', 'Held-out loss', 'Course of the loss', 'Tokens/s'];
  const table = el('table', {}, el('caption', { hidden: true }, 'Runs'),
    el('thead', {}, el('tr', {}, head.map((name, i) => i ? el('th', { scope: 'col', class: [4, 5, 6, 7, 9].includes(i) ? 'num' : null }, name) : el('td')))),
    el('tbody', {}, wanted.map(one => one.error
      ? el('tr', {}, el('td'), el('th', { scope: 'row' }, one.id), el('td', { colspan: 8, class: 'error' }, one.error))
      : el('tr', {},
        el('td', {}, el('input', { type: 'checkbox', 'aria-label': `choose ${one.id}`, checked: settings.chosen.has(one.id), onchange: event => {
          settings.chosen[event.target.checked ? 'add' : 'delete'](one.id);
          compare.disabled = settings.chosen.size < 2;
        } })),
        el('th', { scope: 'row' }, el('a', { href: link(one.id) }, one.id)),
        el('td', {}, one.method), el('td', {}, pill(one.standing)),
        el('td', { class: 'num' }, one.steps ? `${one.step.toLocaleString('en')} of ${one.steps.toLocaleString('en')}` : one.step.toLocaleString('en')),
        el('td', { class: 'num' }, time(one.secondsLeft)),
        el('td', { class: 'num' }, number(one.latest.loss)), el('td', { class: 'num' }, number(one.latest.eval_loss)),
        el('td', {}, spark(one.spark, `loss of ${one.id}, from ${number(one.spark[0]?.[1])} to ${number(one.spark.at(-1)?.[1])}`)),
        el('td', { class: 'num' }, one.tokensPerSecond ? Math.round(one.tokensPerSecond).toLocaleString('en') : '–')))));
  return [el('div', { class: 'tools' }, el('label', { for: 'filter' }, 'Find'), filter, compare), el('div', { class: 'wide' }, table)];
}

// ---- one run

const parts = [['', 'Curves'], ['numbers', 'Numbers'], ['samples', 'Answers'], ['rows', 'Rows'], ['recipe', 'Recipe'], ['card', 'Card'], ['lineage', 'Lineage']];

async function one(id, part, ...more) {
  const view = await run(id);
  document.title = `${id}: ${view.standing}`;
  const facts = [['State', pill(view.standing)], ['Method', view.method], ['Model', view.model ?? '–'],
    ['Progress', view.steps ? el('span', {}, el('progress', { max: view.steps, value: view.step, 'aria-label': 'steps' }), ` ${view.step.toLocaleString('en')} of ${view.steps.toLocaleString('en')}`) : view.step],
    ['Epoch', view.epoch?.toFixed(2) ?? '–'], ['Steps/s', view.stepsPerSecond?.toFixed(2) ?? '–'],
    ['Tokens/s', view.tokensPerSecond ? Math.round(view.tokensPerSecond).toLocaleString('en') : '–'], ['Left', time(view.secondsLeft)],
    ['Started', view.started ? new Date(view.started).toLocaleString() : '–']];
  const head = [el('h2', {}, id), el('dl', { class: 'facts' }, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))),
    el('nav', { 'aria-label': 'Parts of the run' }, el('ul', {}, parts.map(([name, words]) =>
      el('li', {}, el('a', { href: link(id, name), 'aria-current': name === part ? 'page' : null }, words)))))];
  return [...head, ...await ({ '': curves, numbers, rows, samples: said, recipe: text, card: text, lineage: text }[part] ?? curves)(id, view, part, ...more)];
}

function tools() {
  return el('div', { class: 'tools' },
    el('label', {}, el('input', { type: 'checkbox', id: 'log', checked: settings.log, onchange: event => { settings.log = event.target.checked; refresh(); } }), ' logarithmic'),
    el('label', { for: 'smoothing' }, 'Smoothing'),
    el('input', { type: 'range', id: 'smoothing', min: 0, max: .98, step: .02, value: settings.smoothing, onchange: event => { settings.smoothing = +event.target.value; refresh(); } }));
}

const later = ['runtime', 'samples_per_second', 'steps_per_second', 'num_tokens'];

// A number and its held-out counterpart share a picture.
function pairs(names) {
  const plain = names.filter(name => !later.some(word => name.includes(word)));
  const bases = [...new Set(plain.map(name => name.replace(/^eval_/, '')))];
  return bases.map(base => [base, [base, `eval_${base}`].filter(name => plain.includes(name))]);
}

async function curves(id, view) {
  const names = Object.keys(view.series);
  if (!names.length) return [el('p', { class: 'empty' }, 'Nothing is logged yet.')];
  return [tools(), el('div', { class: 'charts' }, pairs(names).map(([base, both]) => chart(both.map(name => ({ name, points: view.series[name], color: name.startsWith('eval_') ? 1 : 0 })),
    { title: base, log: settings.log, smoothing: settings.smoothing, marks: view.checkpoints })))];
}

async function numbers(id, view) {
  const rows = Object.entries(view.series).map(([name, points]) => {
    const values = points.map(point => point[1]);
    return el('tr', {}, el('th', { scope: 'row' }, name), ...[values.at(-1), values[0], Math.min(...values), Math.max(...values)].map(value => el('td', { class: 'num' }, number(value))),
      el('td', {}, spark(points, `${name} over the steps`)));
  });
  return [el('div', { class: 'wide' }, el('table', {}, el('thead', {}, el('tr', {}, ['Number', 'Last', 'First', 'Least', 'Greatest', 'Course'].map((name, i) =>
    el('th', { scope: 'col', class: i > 0 && i < 5 ? 'num' : null }, name)))), el('tbody', {}, rows)))];
}

// From how likely a token was to its shade.
const shades = [[.5, 0, 'p ≥ 0.5'], [.2, 1, '≥ 0.2'], [.05, 2, '≥ 0.05'], [.01, 3, '≥ 0.01'], [0, 4, '< 0.01']];
const shade = logprob => logprob === null ? 0 : shades.find(([least]) => Math.exp(logprob) >= least)[1];

async function rows(id, view, part, from = 0, scores = false) {
  const { rows: found, total, from: first } = await run(id, 'rows', `&from=${from}&count=5${scores ? '&scores=1' : ''}`);
  const go = (to, scored = scores) => () => { location.hash = `${link(id, 'rows')}/${Math.max(0, to)}${scored ? '/scores' : ''}`; };
  return [el('p', {}, `Rows ${first + 1} to ${first + found.length} of ${total.toLocaleString('en')}, as the model sees them. `, el('span', { class: 'loss' }, 'What is marked like this'), ' carries loss.'),
    el('div', { class: 'tools' }, el('button', { type: 'button', disabled: first === 0, onclick: go(first - 5) }, 'Rows before'),
      el('button', { type: 'button', disabled: first + found.length >= total, onclick: go(first + 5) }, 'Rows after'),
      el('label', {}, el('input', { type: 'checkbox', id: 'scores', checked: scores, onchange: go(first, !scores) }),
        ' how likely the saved model finds each token'),
      scores ? el('p', { class: 'key' }, shades.map(([, , words], i) => el('span', { class: `q${i}` }, words))) : null),
    ...found.map((row, i) => {
      let segment = -1;
      const body = el('p', { class: 'text' });
      for (const piece of row.parts) {
        if (piece.segment !== segment && row.parts.some(other => other.segment !== piece.segment)) body.append(el('span', { class: 'part' }, piece.role));
        segment = piece.segment;
        if (piece.logprob === undefined) body.append(piece.loss ? el('span', { class: 'loss' }, piece.text) : piece.text);
        else body.append(el('span', { class: `${piece.loss ? 'carries ' : ''}q${shade(piece.logprob)}`, title: piece.logprob === null ? 'nothing predicts it'
          : `log p ${piece.logprob.toFixed(3)}, p ${number(Math.exp(piece.logprob))}${piece.loss ? ', carries loss' : ''}` }, piece.text));
      }
      const scored = row.parts.filter(piece => piece.loss && Number.isFinite(piece.logprob)), mean = scored.reduce((sum, piece) => sum + piece.logprob, 0) / scored.length;
      return el('section', { class: 'row', 'aria-label': `row ${first + i + 1}` }, el('h3', {}, `Row ${first + i + 1}: ${row.tokens.toLocaleString('en')} tokens`
        + (scored.length ? `, loss ${number(-mean)}, perplexity ${number(Math.exp(-mean))}` : '')), body,
        row.cut ? el('p', { class: 'empty' }, `and ${row.cut.toLocaleString('en')} more tokens`) : null);
    })];
}

const said = async id => samples((await run(id, 'samples')).prompts);

async function text(id, view, part) {
  const { text: words } = await run(id, part);
  const pre = el('pre', { tabindex: 0, 'aria-label': part });
  for (const line of words.split('\n')) {
    const at = part === 'recipe' ? line.search(/(^|\s)#/) : -1;
    if (at < 0) pre.append(`${line}\n`);
    else pre.append(line.slice(0, at), el('span', { class: 'comment' }, line.slice(at)), '\n');
  }
  return [pre];
}

// ---- several runs

async function compare(ids) {
  const views = await Promise.all(ids.map(id => run(id)));
  document.title = `${ids.length} runs compared`;
  const names = [...new Set(views.flatMap(view => Object.keys(view.series)))].filter(name => !later.some(word => name.includes(word)));
  const legend = el('ul', { 'aria-label': 'Runs' }, ids.map((id, i) => el('li', { class: `t${i % 6}` }, el('a', { href: link(id), class: `t${i % 6}` }, id), ` ${views[i].standing}, step ${views[i].step}`)));
  return [el('h2', {}, `${ids.length} runs compared`), legend, tools(), el('div', { class: 'charts' }, names.map(name => chart(views.flatMap((view, i) => view.series[name]
    ? [{ name: ids[i], points: view.series[name], color: i }] : []), { title: name, log: settings.log, smoothing: settings.smoothing })))];
}

// ---- ways

async function page() {
  const [where, ...rest] = location.hash.replace(/^#\/?/, '').split('/');
  if (where === 'run') return one(decodeURIComponent(rest[0]), rest[1] ?? '', +(rest[2] ?? 0), rest[3] === 'scores');
  if (where === 'playground') return playground(get);
  if (where === 'compare') return compare(rest[0].split(',').map(decodeURIComponent));
  return list();
}

// Where the reader is stays where it is: focus by id, label or link, and what was scrolled to.
function keep(draw) {
  const active = document.activeElement, mark = active?.id ? `#${CSS.escape(active.id)}`
    : active?.getAttribute?.('href') ? `a[href="${CSS.escape(active.getAttribute('href'))}"]`
    : active?.getAttribute?.('aria-label') ? `[aria-label="${CSS.escape(active.getAttribute('aria-label'))}"]` : null;
  const caret = active?.id === 'filter' ? active.selectionStart : null;
  draw();
  const again = mark && main.querySelector(mark);
  if (again && again !== document.activeElement) { again.focus({ preventScroll: true }); if (caret !== null) again.setSelectionRange(caret, caret); }
}

async function refresh(moved = false) {
  clearTimeout(timer);
  const mine = ++visit;
  try {
    const nodes = await page();
    if (mine !== visit) return;
    // Who reads a curve with the keyboard or rows with the mouse is not disturbed.
    const reading = drawn === location.hash && (document.activeElement?.closest?.('figure') || location.hash.includes('/rows') || location.hash.startsWith('#/playground') || location.hash.match(/\/(recipe|card|lineage)$/) || !getSelection().isCollapsed);
    if (!reading) keep(() => main.replaceChildren(...nodes));
    drawn = location.hash;
    state.textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (failure) {
    if (mine !== visit) return;
    state.textContent = failure instanceof TypeError ? 'the server does not answer' : '';
    if (!(failure instanceof TypeError) || !main.childElementCount) main.replaceChildren(el('p', { class: 'error', role: 'alert' }, failure.message));
  }
  if (moved) main.focus({ preventScroll: true });
  timer = setTimeout(() => document.hidden ? refreshWhenSeen() : refresh(), 2000);
}

function refreshWhenSeen() {
  document.addEventListener('visibilitychange', () => refresh(), { once: true });
}

addEventListener('hashchange', () => { scrollTo(0, 0); refresh(true); });
refresh();
