// Renders openapi.json: operations by tag, their schemas, and a form to try each.
"use strict";

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const code = (text) => element("code", {}, text);
const note = (text) => (text ? element("span", { class: "note" }, ` ${text}`) : null);

// What a reference points to; anything else as it is.
function resolve(api, value) {
  if (!value || !value.$ref) return value;
  const path = value.$ref.replace(/^#\//, "").split("/");
  return path.reduce((at, key) => at && at[key.replace(/~1/g, "/").replace(/~0/g, "~")], api);
}

function typeOf(schema) {
  if (schema === true || Object.keys(schema).length === 0) return "anything";
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const types = [].concat(schema.type || []).join(" | ");
  const bounds = [];
  for (const [key, sign] of [["minimum", "≥"], ["maximum", "≤"], ["minItems", "at least"], ["maxItems", "at most"]]) {
    if (key in schema) bounds.push(`${sign} ${schema[key]}`);
  }
  return bounds.length ? `${types} (${bounds.join(", ")})` : types;
}

// A schema as a tree. `inside`: names of the references around it, so that a circle ends.
function tree(api, given, inside) {
  const name = given && given.$ref ? given.$ref.split("/").pop() : null;
  if (name && inside.includes(name)) return element("div", {}, code(name), note("as above"));
  const schema = resolve(api, given);
  const around = name ? inside.concat(name) : inside;
  const box = element("div", {});
  const head = element("div", {}, name ? code(`${name} `) : null, element("span", { class: "type" }, typeOf(schema)), note(schema.description));
  box.append(head);
  const child = (label, of, text) => {
    box.append(element("div", { class: "schema" }, code(label), note(text), tree(api, of, around)));
  };
  for (const [key, property] of Object.entries(schema.properties || {})) {
    child(key, property, (schema.required || []).includes(key) ? "required" : "");
  }
  (schema.prefixItems || []).forEach((item, index) => child(`[${index}]`, item));
  if (schema.items && schema.items !== true) child("[…]", schema.items);
  // Alternatives that only name keys say nothing that a reader needs.
  const alternatives = (schema.anyOf || schema.oneOf || []).filter((one) => one.$ref || one.type || one.anyOf || one.enum || "const" in one);
  alternatives.forEach((one) => child("or", one));
  return box;
}

function contents(api, content) {
  return Object.entries(content || {}).map(([type, media]) =>
    element("div", {}, code(type), tree(api, media.schema || {}, [])));
}

function responses(api, operation) {
  return Object.entries(operation.responses).map(([status, given]) => {
    const response = resolve(api, given);
    const line = element("summary", {}, code(status), note(response.description));
    return element("details", {}, line, ...contents(api, response.content));
  });
}

async function send(path, method, body, out) {
  out.textContent = "…";
  const began = performance.now();
  try {
    const request = { method };
    if (body !== null) Object.assign(request, { body, headers: { "content-type": "application/json" } });
    const response = await fetch(`.${path}`, request);
    const text = await response.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch (_) { /* not JSON: as it is */ }
    out.textContent = `${response.status} in ${Math.round(performance.now() - began)} ms\n${shown}`;
  } catch (error) {
    out.textContent = String(error);
  }
}

function form(path, method, operation) {
  const media = operation.requestBody && operation.requestBody.content["application/json"];
  const out = element("pre", { "aria-live": "polite", hidden: "" });
  const box = element("div", {}, element("h3", {}, "Try it"));
  let input = null;
  if (media) {
    const examples = Object.entries(media.examples || {});
    const pretty = (example) => JSON.stringify(example.value, null, 1);
    input = element("textarea", { spellcheck: "false", "aria-label": "request body" });
    input.value = examples.length ? pretty(examples[0][1]) : "{}";
    for (const [name, example] of examples.length > 1 ? examples : []) {
      const choose = element("button", { type: "button" }, name);
      choose.addEventListener("click", () => { input.value = pretty(example); });
      box.append(choose);
    }
    box.append(input);
  }
  const button = element("button", { type: "button", class: "send" }, "Send");
  button.addEventListener("click", () => {
    out.hidden = false;
    send(path, method.toUpperCase(), input && input.value, out);
  });
  box.append(button, out);
  return box;
}

function operationBox(api, path, method, operation) {
  const summary = element("summary", {},
    element("span", { class: `method ${method}` }, method.toUpperCase()), " ", code(path),
    element("span", { class: "summary" }, operation.summary));
  const inner = element("div", {});
  const box = element("details", { class: "operation", id: operation.operationId }, summary, inner);
  // Most are never opened.
  box.addEventListener("toggle", () => {
    if (inner.hasChildNodes()) return;
    if (operation.description) inner.append(element("p", {}, operation.description));
    for (const parameter of operation.parameters || []) {
      inner.append(element("div", {}, code(parameter.name), note(parameter.description)));
    }
    if (operation.requestBody) inner.append(element("h3", {}, "Request"), ...contents(api, operation.requestBody.content));
    inner.append(element("h3", {}, "Responses"), ...responses(api, operation), form(path, method, operation));
  });
  return box;
}

function render(api) {
  document.title = api.info.title;
  const main = element("main", { id: "document" },
    element("h1", {}, api.info.title, note(api.info.version)),
    element("p", {}, api.info.description),
    element("p", {}, element("a", { href: "openapi.json" }, "openapi.json"), note(`OpenAPI ${api.openapi}`)));
  for (const tag of api.tags) {
    main.append(element("h2", {}, tag.name), element("p", {}, tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(tag.name)) main.append(operationBox(api, path, method, operation));
      }
    }
  }
  document.getElementById("document").replaceWith(main);
  // A link to one operation.
  const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (wanted && wanted.matches("details")) {
    wanted.open = true;
    wanted.scrollIntoView();
  }
}

fetch("openapi.json").then((response) => response.json()).then(render).catch((error) => {
  document.getElementById("document").append(element("p", {}, String(error)));
});
