// Elements made of data. Text goes in as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * A new element.
 * @param {string} tag
 * @param {Object<string, any>} attributes null, undefined and false leave one out; `style` takes custom properties,
 *   `on…` a listener.
 * @param {...(Node|string|number|null|false|undefined)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A `<span>` of a class, which is most of a card. */
export function span(name, ...children) {
  return element('span', { class: name }, ...children);
}

/** Text for screen readers alone. */
export function spoken(text) {
  return span('spoken', text);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'style') {
      for (const [property, setting] of Object.entries(value)) made.style.setProperty(property, setting);
    } else if (name.startsWith('on')) {
      made.addEventListener(name.slice(2), value);
    } else {
      made.setAttribute(name, value === true ? '' : value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}
