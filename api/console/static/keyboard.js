// Everything by keyboard: one card of a list is in the tab order, arrows lead to the others.

const TYPING = 'input, select, textarea, [contenteditable]';

/** Let arrows, Home and End lead from card to card within `list`; the one last visited keeps the tab stop. */
export function roam(list) {
  const cards = () => [...list.querySelectorAll('.card')];
  const stop = (card) => {
    for (const each of list.querySelectorAll('.card[tabindex="0"]')) each.tabIndex = -1;
    if (card) card.tabIndex = 0;
  };
  new MutationObserver(() => list.querySelector('.card[tabindex="0"]') || stop(cards()[0])).observe(list, { childList: true });
  list.addEventListener('focusin', (event) => stop(event.target.closest('.card')));
  list.addEventListener('keydown', (event) => {
    const every = cards();
    const at = every.indexOf(event.target.closest('.card'));
    const to = at < 0 || event.ctrlKey || event.metaKey || event.altKey ? undefined : target(event.key, at, every);
    if (to === undefined) return;
    event.preventDefault();
    every[Math.min(Math.max(to, 0), every.length - 1)].focus();
  });
}

function target(key, at, cards) {
  const below = cards.findIndex((card) => card.offsetTop > cards[0].offsetTop + 1); // wherever they glide just now
  const across = below < 0 ? cards.length : below;
  switch (key) {
    case 'ArrowRight':
      return at + 1;
    case 'ArrowLeft':
      return at - 1;
    case 'ArrowDown':
      return at + across < cards.length ? at + across : at;
    case 'ArrowUp':
      return at - across >= 0 ? at - across : at;
    case 'Home':
      return 0;
    case 'End':
      return cards.length - 1;
    default:
      return undefined;
  }
}

/** Call `actions[key]` for a key that isn't typed into anything. */
export function shortcuts(actions) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(`${TYPING}, dialog`)) return;
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : undefined;
    if (action) {
      event.preventDefault();
      action();
    }
  });
}
