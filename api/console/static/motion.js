// Cards glide to where they stand now, unless one prefers that nothing moves.

const STILL = matchMedia('(prefers-reduced-motion: reduce)');
const FAR = 1_600;

/** Where the cards of a list are, by product. */
export function positions(list) {
  if (STILL.matches) return null;
  return new Map([...list.children].map((item) => [item.dataset.id, item.getBoundingClientRect()]));
}

/** Let the cards come from where they were (FLIP: first, last, invert, play). */
export function glide(list, before) {
  for (const item of list.children) {
    const was = before.get(item.dataset.id);
    const is = item.getBoundingClientRect();
    if (is.top > innerHeight + FAR) break;
    const frames = was
      ? [{ transform: `translate(${was.left - is.left}px, ${was.top - is.top}px)` }, { transform: 'none' }]
      : [{ opacity: 0, transform: 'scale(0.96)' }, { opacity: 1, transform: 'none' }];
    if (was && was.left === is.left && was.top === is.top) continue;
    item.animate(frames, { duration: 380, easing: 'cubic-bezier(0.2, 0.8, 0.2, 1)' });
  }
}
