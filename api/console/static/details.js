// The dialog that says everything known of a product, and why it stands where it does.

import { element, span } from './dom.js';
import { shareBar, title } from './cards.js';
import { MODELS, calm, money, percent, ruled, score } from './words.js';

/** A dialog; `open` shows a product of a column in it. */
export function detailsDialog() {
  const content = element('div', { class: 'details' });
  const close = element('button', { class: 'close', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, '×');
  const dialog = element('dialog', { 'aria-labelledby': 'details-title' }, close, content);
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return (shown) => {
    content.replaceChildren(...parts(shown));
    dialog.showModal();
  };
}

function parts({ id, rank, product, explanation }) {
  return [
    element('p', { class: 'kicker' }, `Place ${explanation?.position ?? rank} · product ${id}`),
    element('h2', { id: 'details-title' }, title(product, id)),
    ...(explanation ? why(explanation) : []),
    ...(product ? [table('What the catalog knows', facts(product))] : [element('p', {}, 'The catalog has no details of it.')]),
  ];
}

function why(explanation) {
  const { components, shares, rules } = explanation;
  const figure = (value) => (Number.isFinite(value) ? score(value) : null);
  const rows = MODELS.map(([name, label, question]) => [
    element('span', {}, element('i', { class: `dot ${name}` }), label, span('question', question)),
    [Number.isFinite(shares?.[name]) ? percent(shares[name]) : null, figure(components?.[name])],
  ]);
  const parts = [['The same for all', ['', figure(explanation.bias)]], ['Boost of the shop', ['', figure(explanation.boost)]]];
  const way = [
    ['Found at', explanation.retrieval_rank],
    ['By score', explanation.score_rank],
    ['Shown at', explanation.position],
    ...(rules ?? []).map(ruled).map(({ rule, text }) => [`Rule ${rule}`, text]),
  ].filter(([, value]) => value !== undefined && value !== null);
  return [
    element('h3', {}, 'Why it stands here'),
    shares ? shareBar(shares) : null,
    shares ? table('Parts of the score', [...rows, ...parts, ['Score', ['', figure(explanation.score)]]]) : null,
    table('Its way', way),
  ].filter(Boolean);
}

function facts(product) {
  const share = (value) => (value > 0 ? `${percent(value)} of stores` : 'no');
  return [
    ['Class', calm(product.leaf_category)],
    ['Category', calm(product.category)],
    ['Department', calm(product.department)],
    ['Brand', calm(product.brand)],
    ['Package', product.package_size],
    ['Price', product.price === null ? null : money(product.price)],
    ['Regular price', product.regular_price === null ? null : money(product.regular_price)],
    ['Mailer', share(product.mailer)],
    ['Display', share(product.display)],
    ['Coupon', product.coupon > 0 ? 'yes' : 'no'],
    ['Available', product.available ? 'yes' : 'no'],
  ].map(([name, value]) => [name, value ?? 'not known']);
}

function table(caption, rows) {
  const cells = ([name, values]) =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, name),
      ...[values].flat().map((value) => element('td', {}, String(value ?? '–'))),
    );
  return element('table', {}, element('caption', {}, caption), element('tbody', {}, ...rows.map(cells)));
}
