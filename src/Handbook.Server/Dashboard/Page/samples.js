// What a model says to the same prompts as its training goes on.
import { el, number } from './charts.js';

const steps = answer => answer.first === answer.last ? `step ${answer.first.toLocaleString('en')}`
  : `steps ${answer.first.toLocaleString('en')} to ${answer.last.toLocaleString('en')}`;

// The words that an answer has and the one before it had not stand out.
function changed(text, before) {
  const said = el('span', { class: 'text' });
  if (before === undefined) { said.append(text); return said; }
  const known = new Set(before.split(/\s+/));
  for (const word of text.split(/(\s+)/)) said.append(word.trim() && !known.has(word) ? el('mark', {}, word) : word);
  return said;
}

export function samples(prompts) {
  if (!prompts.length) return [el('p', { class: 'empty' }, 'This run has written no answers. With generate_during_eval: true a recipe asks 16 held-out prompts at each evaluation.')];
  return [el('p', {}, 'The same prompts, and what the model says to them as it learns; the latest first. Words that its answer before had not are ', el('mark', {}, 'marked'), '.'),
    ...prompts.map((one, i) => el('section', { class: 'row', 'aria-label': `prompt ${i + 1}` }, el('h3', {}, `Prompt ${i + 1}`), el('p', { class: 'text' }, one.prompt),
      el('table', {}, el('caption', { hidden: true }, `Answers to prompt ${i + 1}`), el('tbody', {},
        one.answers.map((answer, k) => [answer, one.answers[k - 1]]).reverse().map(([answer, before]) => el('tr', {},
          el('th', { scope: 'row' }, steps(answer), answer.reward === null ? null : el('span', { class: 'part' }, `reward ${number(answer.reward)}`)),
          el('td', {}, answer.text ? changed(answer.text, before?.text) : el('span', { class: 'empty' }, 'nothing')))),
        Object.entries(one.known).map(([name, text]) => el('tr', { class: 'known' }, el('th', { scope: 'row' }, `${name}, of the data`), el('td', {}, el('span', { class: 'text' }, text))))))))];
}
