// The page: what is chosen above, one or two orders below.

import { containers, features } from './api.js';
import { Column } from './column.js';
import { moves, overlap, rbo } from './compare.js';
import { detailsDialog } from './details.js';
import { element, span } from './dom.js';
import { roam, shortcuts } from './keyboard.js';
import { ReleasesPanel } from './releases.js';
import { drawSlopes } from './slopes.js';
import { LIMITS, read, write } from './state.js';
import { count, percent } from './words.js';

const PAUSE_MS = 250;
const $ = (id) => document.getElementById(id);

const state = read();
const open = detailsDialog();
let known = new Set();

const left = new Column('Left order', { way: (way) => choose({ [state.view === 'one' ? 'order' : 'left']: way }), change, open });
const right = new Column('Right order', { way: (way) => choose({ right: way }), change, open });
const panel = new ReleasesPanel($('releases'), {
  served: (numbers) => [left, right].forEach((column) => column.offer(numbers.length > 1 && known.has('release') ? numbers : [])),
  compare: (one, other) => choose({ view: 'compare', left: one, right: other }),
});
const slopes = $('slopes');
$('columns').prepend(left.root);
$('columns').append(right.root);
for (const { list } of [left, right]) {
  roam(list);
  for (const name of ['pointerover', 'focusin']) list.addEventListener(name, (event) => twin(event.target.closest('.card')));
  for (const name of ['pointerleave', 'focusout']) list.addEventListener(name, () => twin(null));
}
new ResizeObserver(draw).observe($('columns'));

/** Take over a choice, and show what it means. */
function choose(choice) {
  Object.assign(state, choice);
  write(state);
  show();
}

async function show() {
  const comparing = state.view === 'compare';
  $('columns').className = comparing ? 'comparing' : 'single';
  right.root.hidden = !comparing;
  for (const radio of document.querySelectorAll('input[name=view]')) radio.checked = radio.value === state.view;
  const query = (way) => ({ container: state.container, customer: state.customer, way, limit: state.limit });
  if (!state.container) return;
  if (!comparing) right.clear();
  await Promise.all([
    left.load(query(comparing ? state.left : state.order), known),
    comparing ? right.load(query(state.right), known) : null,
  ]);
}

/** Other products are shown. */
function change() {
  const comparing = state.view === 'compare';
  const moved = comparing && left.ids.length && right.ids.length ? moves(left.ids, right.ids) : null;
  left.mark(moved, 'left');
  right.mark(moved, 'right');
  $('summary').replaceChildren(...(moved ? summary(moved) : []));
  $('status').textContent = [left.said, comparing ? right.said : ''].filter(Boolean).join('; compared with ');
  draw();
}

function summary({ places, added, gone }) {
  const moved = [...places.values()];
  const figure = (name, value, title) => element('div', { class: 'figure', title }, element('dt', {}, name), element('dd', {}, value));
  const rose = moved.filter((each) => each > 0).length;
  const fell = moved.filter((each) => each < 0).length;
  return [
    figure('Overlap@10', percent(overlap(left.ids, right.ids)), 'Products that both have among their first ten'),
    figure('RBO', rbo(left.ids, right.ids).toFixed(2), 'Rank-biased overlap, p = 0.9: 1 is the same order, 0 nothing in common'),
    figure('Up', span('rose', count(rose)), 'Products that stand higher on the right'),
    figure('Down', span('fell', count(fell)), 'Products that stand lower on the right'),
    figure('New', span('new', count(added.size)), 'Products of the right order alone'),
    figure('Gone', span('gone', count(gone.size)), 'Products of the left order alone'),
  ];
}

function draw() {
  const visible = state.view === 'compare' && slopes.getBoundingClientRect().width > 0;
  if (visible && left.ids.length && right.ids.length) drawSlopes(slopes, left.list, right.list, moves(left.ids, right.ids).places);
  else slopes.replaceChildren();
}

/** Point out the same product everywhere. */
function twin(card) {
  for (const each of document.querySelectorAll('.is-twin')) each.classList.remove('is-twin');
  if (!card || state.view !== 'compare') return;
  for (const each of document.querySelectorAll(`[data-id="${CSS.escape(card.dataset.id)}"]`)) each.classList.add('is-twin');
}

function fillControls(all) {
  const group = (label, kind) => {
    const options = all.filter((each) => each.kind === kind).map(({ container_id: id, title, size }) => element('option', { value: id }, `${title} (${count(size)})`));
    return options.length ? element('optgroup', { label }, ...options) : null;
  };
  $('container').append(...[group('Lists', 'list'), group('Grids', 'grid')].filter(Boolean));
  $('limit').append(...LIMITS.map((limit) => element('option', { value: limit }, String(limit))));
  if (!all.some((each) => each.container_id === state.container)) {
    state.container = (all.find((each) => each.size) ?? all[0])?.container_id ?? '';
  }
  $('container').value = state.container;
  $('limit').value = state.limit;
  $('customer').value = state.customer;
}

let typing;
function customerTyped(pause) {
  const text = $('customer').value.trim();
  const valid = /^\d{0,19}$/.test(text);
  $('customer').setCustomValidity(valid ? '' : 'A customer is a whole number; leave it empty for anonymous.');
  $('customer').setAttribute('aria-invalid', String(!valid));
  clearTimeout(typing);
  if (valid && text !== state.customer) typing = setTimeout(choose, pause, { customer: text });
}

function step(by) {
  $('customer').value = String(Math.max(1, Number($('customer').value || 0) + by));
  customerTyped(PAUSE_MS);
}

$('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  customerTyped(0);
});
$('customer').addEventListener('input', () => customerTyped(PAUSE_MS));
$('customer').addEventListener('keydown', (event) => {
  const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});
$('container').addEventListener('change', (event) => choose({ container: event.target.value }));
$('limit').addEventListener('change', (event) => choose({ limit: Number(event.target.value) }));
$('view').addEventListener('change', (event) => choose({ view: event.target.value }));
shortcuts({
  '/': () => $('customer').select(),
  c: () => choose({ view: state.view === 'compare' ? 'one' : 'compare' }),
});

try {
  const [all, parameters] = await Promise.all([containers(), features()]);
  known = parameters;
  $('legend').hidden = !known.has('explain');
  fillControls(all);
  await panel.refresh(); // first, so that a release that the address names can be chosen
  await show();
} catch (error) {
  $('summary').replaceChildren(element('p', { class: 'notice failed', role: 'alert' }, error.message));
}
