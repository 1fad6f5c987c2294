// A card for each photo: the photo with its faces, their crops and scores, the request's times. Nothing that is shown is
// computed here: a crop's pixels are those of the output `crop`, times are those of the header `server-timing`.

import { code } from "./code.js";
import { Refused, infer } from "./infer.js";
import { $, both, bytes, make, percent, time } from "./make.js";

// So that many photos do not fill the service's queue, nor the browser's connections.
const AT_ONCE = 3;
const queue = { running: 0, waiting: [] };

async function inTurn(work) {
  if (queue.running >= AT_ONCE) await new Promise((begin) => queue.waiting.push(begin));
  else queue.running += 1;
  try {
    return await work();
  } finally {
    const next = queue.waiting.shift();
    if (next) next();
    else queue.running -= 1;
  }
}

let cards = 0;

// Sends a photo to a model and shows the answer.
export function show(file, model) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  const title = part("h3");
  title.textContent = file.name;
  title.id = `card-${(cards += 1)}`;
  card.setAttribute("aria-labelledby", title.id);
  const image = part("img");
  const url = URL.createObjectURL(file);
  const facts = () => {
    const pixels = image.naturalWidth ? `${size(image).join(" × ")} · ` : "";
    part(".facts").replaceChildren(`${pixels}${bytes(file.size)} · `, make("code", {}, model));
  };
  facts();
  image.alt = file.name;
  image.addEventListener("load", () => {
    facts();
    // A tall photo is not taller than a screen.
    const [width, height] = size(image);
    part(".photo").style.maxWidth = `${(640 * width) / height}px`;
  });
  image.addEventListener("error", () => part(".photo").replaceChildren());
  image.src = url;
  part(".remove .unseen").textContent = file.name;
  part(".remove").addEventListener("click", () => {
    card.remove();
    URL.revokeObjectURL(url);
    $("files").focus();
  });
  part(".again").addEventListener("click", () => ask(card, model, file));
  code(part(".code"), model, file);
  $("results").querySelector("h2").after(card);
  ask(card, model, file);
}

// Width and height of a photo as it is shown. Its natural ones are those of the photo upright, also where it is shown as
// it lies.
function size({ naturalWidth, naturalHeight, clientWidth, clientHeight }) {
  const turned = clientWidth > clientHeight !== naturalWidth > naturalHeight;
  return turned ? [naturalHeight, naturalWidth] : [naturalWidth, naturalHeight];
}

async function ask(card, model, file) {
  const part = (selector) => card.querySelector(selector);
  part(".error").hidden = part(".again").hidden = part(".times").hidden = true;
  part(".faces").replaceChildren();
  part(".headline").replaceChildren(both("Waiting for the answer …", "等待回答……"));
  part(".photo").classList.add("waiting");
  card.setAttribute("aria-busy", "true");
  try {
    const answer = await inTurn(() => infer(model, file));
    faces(card, answer);
    times(part(".times"), answer);
    say(file.name, part(".headline"));
  } catch (error) {
    fail(card, error);
    say(file.name, part(".headline"), ` ${part(".error").textContent}`);
  } finally {
    part(".photo").classList.remove("waiting");
    card.removeAttribute("aria-busy");
  }
}

// To a screen reader, in the chosen language: what is hidden is not read.
function say(name, headline, more = "") {
  $("announce").replaceChildren(`${name}: `, ...[...headline.childNodes].map((node) => node.cloneNode(true)), more);
}

function fail(card, error) {
  const text = card.querySelector(".error");
  const headline = card.querySelector(".headline");
  text.hidden = false;
  text.textContent = error.message;
  if (error instanceof Refused) {
    headline.replaceChildren(both("The service refused it", "服务拒绝了请求"), ` (${error.status})`);
    card.querySelector(".again").hidden = error.status < 408;
  } else {
    headline.replaceChildren(both("There is no answer from the service", "服务没有回答"));
    card.querySelector(".again").hidden = false;
  }
}

function faces(card, { outputs: found }) {
  const lines = (name) => found.get(name)?.lines ?? [];
  const count = Math.max(0, ...[...found.values()].map((output) => output.lines.length));
  const scores = lines("score").map(([score]) => score);
  const headline = card.querySelector(".headline");
  const number = (value) => make("b", {}, String(value));
  if (!found.has("box")) headline.replaceChildren(both("The whole picture, as the model was given it", "整张图片，模型看到的样子"));
  else if (count === 0) headline.replaceChildren(both("No face was found", "没有找到人脸"));
  else {
    headline.replaceChildren(
      make("span", { lang: "en" }, number(count), count === 1 ? " face" : " faces, the best score first"),
      make("span", { lang: "zh-CN" }, number(count), count === 1 ? " 张人脸" : " 张人脸，分数高的在前"),
    );
  }
  // Among many faces the number alone has room.
  const labels = (index) => (count > 6 ? `${index + 1}` : `${index + 1} · ${scores[index]?.toFixed(3)}`);
  card.querySelectorAll(".box, .photo i").forEach((old) => old.remove());
  for (let index = 0; index < count; index += 1) {
    const item = make("li");
    const words = make("div");
    const pixels = lines("crop")[index];
    const [height, width] = found.get("crop")?.shape.slice(1) ?? [];
    if (pixels) {
      const label = make("span", { class: "unseen", id: `${card.getAttribute("aria-labelledby")}-${index}` });
      label.append(both(`Face ${index + 1}: the pixels that the model was given`, `人脸 ${index + 1}：模型看到的像素`));
      item.append(crop(pixels, width, height, label.id), label);
    }
    if (scores.length) words.append(make("span", { class: "score", "data-value": scores[index] }, scores[index].toFixed(3)));
    const detection = lines("detection")[index];
    if (detection) words.append(make("small", {}, both("detection ", "检测置信度 "), detection[0].toFixed(3)));
    const box = lines("box")[index];
    if (box) {
      words.append(make("small", {}, `${Math.round(box[2])} × ${Math.round(box[3])} px`));
      mark(card.querySelector(".photo"), item, box, lines("landmarks")[index] ?? [], labels(index));
    }
    if (pixels && count === 1) words.append(make("small", {}, both(`seen at ${width} × ${height}`, `模型输入 ${width} × ${height}`)));
    item.append(words);
    for (const [name, output] of found) {
      if (["score", "box", "landmarks", "detection", "image_index", "crop"].includes(name)) continue;
      item.append(make("pre", { class: "others" }, `${name}: ${[...output.lines[index]].join(", ")}`));
    }
    card.querySelector(".faces").append(item);
  }
}

// The pixels, none of them changed.
function crop(rgb, width, height, label) {
  const canvas = make("canvas", { width, height, role: "img", "aria-labelledby": label });
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let pixel = 0; pixel < width * height; pixel += 1) rgba.set(rgb.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas;
}

// A face's box and landmarks over the photo, when the browser knows how large it is.
async function mark(photo, item, [left, top, width, height], landmarks, label) {
  const image = photo.querySelector("img");
  try { await image?.decode(); } catch { return; }
  if (!image?.naturalWidth) return;
  const [across, down] = size(image);
  const box = make("div", { class: "box", "aria-hidden": "true" }, make("b", {}, label));
  Object.assign(box.style, {
    left: percent(left / across), top: percent(top / down), width: percent(width / across), height: percent(height / down),
  });
  box.classList.toggle("low", top < 0.08 * down);
  photo.append(box);
  // On a small face they would hide it.
  for (let at = 0; at < landmarks.length && width > 0.1 * across; at += 2) {
    const dot = make("i", { "aria-hidden": "true" });
    Object.assign(dot.style, { left: percent(landmarks[at] / across), top: percent(landmarks[at + 1] / down) });
    photo.append(dot);
  }
  for (const [event, lit] of [["pointerenter", true], ["pointerleave", false]]) {
    item.addEventListener(event, () => box.classList.toggle("lit", lit));
  }
}

// --- Where the time went -------------------------------------------------------------------------------------------

// Stages that are parts of another.
const WITHIN = { fetch: "preprocess", pixel_wait: "preprocess", decode: "preprocess", resize: "preprocess", permit: "predict", permit_wait: "predict" };

function times(section, { timing: stages, took }) {
  const total = stages.get("total") ?? 0;
  const rows = [];
  let end = 0;
  for (const [stage, ms] of stages) {
    if (stage === "total" || WITHIN[stage]) continue;
    rows.push({ stage, ms, begin: end });
    let inside = end;
    for (const [part, partMs] of stages) {
      if (WITHIN[part] !== stage) continue;
      rows.push({ stage: part, ms: partMs, begin: inside, kind: "within" });
      inside += partMs;
    }
    end += ms;
  }
  const outside = Math.max(0, took - total);
  rows.push({ stage: "network", ms: outside, begin: Math.max(end, total), kind: "outside" });
  // Stages that overlap take more together than the request did.
  const whole = Math.max(end, total) + outside || 1;
  section.querySelector("ol").replaceChildren(...rows.map(({ stage, ms, begin, kind }) => {
    const bar = make("span");
    Object.assign(bar.style, { left: percent(Math.min(begin / whole, 0.995)), width: percent(Math.min(ms / whole, 1 - begin / whole)) });
    const name = make("span", { class: "stage" }, stage);
    return make("li", { class: kind ?? "" }, name, make("span", { class: "track", "aria-hidden": "true" }, bar), make("span", { class: "ms" }, time(ms)));
  }));
  section.querySelector("h4").replaceChildren(
    both(`Answered in ${time(took)}, of which ${time(total)} in the service`, `用时 ${time(took)}，其中服务内 ${time(total)}`),
  );
  section.hidden = false;
}
