// Two models side by side. What is written and chosen stays while other pages are looked at.
import { el } from './charts.js';

const sides = ['left', 'right'];
let root = null, turns = [], asking = null, answers = null, shown = { left: 'left', right: 'right' };
const parts = {};

function select(side, label) {
  const list = el('select', { id: `model-${side}`, onchange: startOver });
  parts[side] = { list };
  return el('div', { class: 'field' }, el('label', { for: `model-${side}` }, label), list);
}

function field(id, label, attributes) {
  const input = el(attributes.rows ? 'textarea' : 'input', { id, ...attributes });
  parts[id] = input;
  return el('div', { class: 'field' }, el('label', { for: id }, label), input);
}

function build() {
  const answer = side => {
    const text = el('p', { class: 'text', id: `answer-${side}`, tabindex: 0, role: 'region', 'aria-label': `answer ${side === 'left' ? 'A' : 'B'}` }), about = el('p', { class: 'part' });
    const choose = el('button', { type: 'button', disabled: true, onclick: () => keep(side) }, `Prefer ${side === 'left' ? 'A' : 'B'}`);
    const title = el('h3', {}, side === 'left' ? 'A' : 'B');
    Object.assign(parts[side], { text, about, choose, title });
    return el('section', { class: 'row', 'aria-label': side === 'left' ? 'A' : 'B' }, title, text, about, choose);
  };
  parts.ask = el('button', { type: 'submit' }, 'Ask both');
  parts.stop = el('button', { type: 'button', disabled: true, onclick: () => asking?.abort() }, 'Stop');
  parts.over = el('button', { type: 'button', onclick: startOver }, 'Start over');
  parts.blind = el('input', { type: 'checkbox', id: 'blind' });
  parts.status = el('p', { role: 'status', class: 'read' });
  parts.file = el('p', { class: 'empty' });
  parts.turns = el('ol', { class: 'turns', 'aria-label': 'The conversation so far' });
  const form = el('form', { onsubmit: event => { event.preventDefault(); ask(); } },
    el('div', { class: 'tools' }, select('left', 'Model A'), select('right', 'Model B'),
      field('length', 'Most tokens', { type: 'number', min: 1, max: 4096, value: 256 }), field('temperature', 'Temperature', { type: 'number', min: 0, max: 100, step: .1, value: 1 }),
      el('label', {}, parts.blind, ' hide which is which')),
    field('system', 'System text, if any', { type: 'text' }), parts.turns,
    field('question', 'What you say', { rows: 3, onkeydown: event => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); } } }),
    el('div', { class: 'tools' }, parts.ask, parts.stop, parts.over, el('span', { class: 'empty' }, 'Ctrl+Enter asks, too')));
  root = el('div', { class: 'playground' }, el('h2', {}, 'Two models side by side'), form, parts.status, el('div', { class: 'sides' }, sides.map(answer)), parts.file);
}

async function post(path, body, signal) {
  const answer = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal });
  if (answer.ok) return answer;
  throw new Error((await answer.json().catch(() => ({}))).error ?? `status ${answer.status}`);
}

function startOver() {
  asking?.abort();
  turns = []; answers = null;
  draw();
  parts.status.textContent = '';
}

function draw() {
  parts.turns.replaceChildren(...turns.map(turn => el('li', {}, el('span', { class: 'part' }, turn.role), el('span', { class: 'text' }, turn.content))));
  parts.system.disabled = turns.length > 0;
  const ready = answers && sides.every(side => answers[side].finish) && answers.left.text !== answers.right.text && sides.every(side => answers[side].text.trim());
  for (const side of sides) {
    const one = answers?.[side], part = parts[side];
    part.text.textContent = one?.text ?? '';
    part.choose.disabled = !ready || answers.kept;
    const hidden = parts.blind.checked && !answers?.kept, name = side === 'left' ? 'A' : 'B';
    part.title.textContent = one && !hidden ? `${name}: ${one.model}` : name;
    part.about.textContent = one?.finish ? `${one.tokens} tokens in ${one.seconds.toFixed(1)} s${one.finish === 'length' ? ', cut off' : ''}` : '';
  }
  parts.ask.disabled = asking !== null;
  parts.stop.disabled = asking === null;
}

async function ask() {
  const said = parts.question.value;
  if (asking || !said.trim()) { parts.question.focus(); return; }
  // A question that was not decided is asked anew.
  if (answers && !answers.kept) turns = answers.before;
  const before = turns, system = parts.system.value.trim();
  const messages = [...(system && !before.length ? [{ role: 'system', content: system }] : []), ...before, { role: 'user', content: said }];
  // Behind the letters stands either model, where it is not to be known which.
  shown = parts.blind.checked && Math.random() < .5 ? { left: 'right', right: 'left' } : { left: 'left', right: 'right' };
  const model = side => parts[shown[side]].list.value;
  asking = new AbortController();
  answers = { before, messages, kept: false, left: { text: '', model: model('left') }, right: { text: '', model: model('right') } };
  parts.status.textContent = 'Both models are being asked; one that is not in memory is opened first.';
  draw();
  try {
    const stream = (await post('api/answers', { left: model('left'), right: model('right'), messages, max_new_tokens: +parts.length.value || 256,
      temperature: +parts.temperature.value }, asking.signal)).body.pipeThrough(new TextDecoderStream()).getReader();
    for (let held = ''; ;) {
      const { value, done } = await stream.read();
      if (done) break;
      const events = (held + value).split('\n\n');
      held = events.pop();
      for (const event of events) {
        const data = event.replace(/^data: /, '');
        if (data === '[DONE]') continue;
        const piece = JSON.parse(data);
        if (piece.error) throw new Error(piece.error.message ?? piece.error);
        answers[piece.side].text += piece.text;
        if (piece.finish) Object.assign(answers[piece.side], piece, { text: answers[piece.side].text });
      }
      draw();
    }
    parts.status.textContent = answers.left.text === answers.right.text ? 'Both say the same: nothing to choose. Ask again, or ask something else.'
      : sides.some(side => !answers[side].text.trim()) ? 'One says nothing: nothing to choose. Ask again, or ask something else.' : 'Both have answered. Prefer one; the choice is kept as a row.';
  } catch (failure) {
    parts.status.textContent = failure.name === 'AbortError' ? 'Stopped.' : failure.message;
  } finally {
    asking = null;
    draw();
  }
}

async function keep(side) {
  const other = side === 'left' ? 'right' : 'left', chats = answers.left.chat || answers.right.chat;
  const prompt = chats ? { messages: answers.messages } : { prompt: answers.messages[0].content };
  try {
    const kept = await (await post('api/preferences', { ...prompt, chosen: answers[side].text, rejected: answers[other].text,
      chosen_model: answers[side].model, rejected_model: answers[other].model })).json();
    answers.kept = true;
    // The conversation goes on from the better answer.
    turns = chats ? [...answers.messages, { role: 'assistant', content: answers[side].text }] : [];
    parts.question.value = '';
    file(kept);
    draw();
    parts.status.textContent = `${side === 'left' ? 'A' : 'B'} was ${answers[side].model}. Kept as row ${kept.rows}. ${chats ? 'Go on with its answer, or start over.' : ''}`;
    parts.question.focus();
  } catch (failure) {
    parts.status.textContent = failure.message;
  }
}

function file({ file, rows }) {
  parts.file.replaceChildren(`${rows.toLocaleString('en')} ${rows === 1 ? 'row' : 'rows'} of preferences in ${file}. Train on them: `, el('code', {}, `handbook dpo RECIPE --dataset_name=${file}`));
}

/** The playground; the same page each time. */
export async function playground(get) {
  const told = await get('api/playground');
  document.title = 'Playground';
  if (!root) build();
  for (const [i, side] of sides.entries()) {
    const { list } = parts[side], before = list.value;
    if ([...list.options].map(option => option.value).join('\n') === told.models.join('\n')) continue;
    list.replaceChildren(...told.models.map(name => el('option', { value: name }, name)));
    list.value = told.models.includes(before) ? before : told.models[Math.min(i, told.models.length - 1)] ?? '';
  }
  file(told);
  if (!asking) parts.ask.disabled = !told.models.length;
  if (!told.models.length) parts.status.textContent = 'No run here has saved a model yet. --model FOLDER adds one.';
  return [root];
}
