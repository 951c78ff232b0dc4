// What all pages begin with: the words of the page's language, and how an element is made.

const root = document.documentElement;
const words = JSON.parse(document.getElementById("strings").textContent);
const page = document.body.dataset;
const isTouch = matchMedia("(pointer: coarse)").matches;
const may = new Set(page.may.split(" "));

const find = (selector, within = document) => within.querySelector(selector);
const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];
const on = (target, type, work, options) => target?.addEventListener(type, work, options);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A sentence in the page's language. `{name}` in it is a value; a `count` of one has a sentence of its own. */
function say(key, values = {}) {
  const sentence = (values.count === 1 && words[`${key}_one`]) || words[key] || key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) =>
    typeof values[name] === "number" ? values[name].toLocaleString(root.lang) : values[name] ?? whole);
}

/** An element. What is no property of it is an attribute; children are elements and texts. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== false));
  return element;
}

function button(label, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, label);
}

/** A button that shows a symbol of the style sheet only. */
function iconButton(symbol, label, onclick) {
  const icon = make("span", { className: `icon i-${symbol}` });
  return button(icon, onclick, { title: label, ariaLabel: label, className: `plain ${symbol}` });
}
