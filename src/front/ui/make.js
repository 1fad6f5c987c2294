// Making elements, and texts in two languages.

export const $ = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A text in both languages; style.css shows the chosen one.
export function both(english, chinese) {
  const fragment = document.createDocumentFragment();
  fragment.append(make("span", { lang: "en" }, english), make("span", { lang: "zh-CN" }, chinese));
  return fragment;
}

export const percent = (share) => `${100 * share}%`;
export const bytes = (count) => (count < 1e6 ? `${Math.ceil(count / 1024)} KB` : `${(count / 1048576).toFixed(1)} MB`);
export function time(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms`;
}
