// Lines between two columns, from where a product stands in one to where it stands in the other.

import { shape } from './dom.js';

const WIDTH = 100;

/** Draw them into `svg`; both lists are laid out. */
export function drawSlopes(svg, left, right, places) {
  const height = Math.max(left.offsetHeight, right.offsetHeight);
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${Math.max(1, height)}`);
  const ends = centres(right);
  const lines = [...centres(left)].filter(([id]) => ends.has(id)).map(([id, from]) => {
    const to = ends.get(id);
    const rose = places.get(id);
    const kind = rose > 0 ? 'rose' : rose < 0 ? 'fell' : 'stayed';
    const path = `M0 ${from} C${WIDTH / 2} ${from} ${WIDTH / 2} ${to} ${WIDTH} ${to}`;
    return shape('path', { d: path, class: `slope ${kind}`, 'data-id': id });
  });
  svg.replaceChildren(...lines);
}

function centres(list) {
  return new Map(
    [...list.children].map((item) => [item.dataset.id, Math.round(item.offsetTop - list.offsetTop + item.offsetHeight / 2)]),
  );
}
