// The service in the last minute: what /metrics counts, and whether it is ready.

import { Refused, get } from "./infer.js";
import { $, both, make, time } from "./make.js";

const EVERY_MS = 2000;
const SAMPLES = 30;
const samples = [];

// Prometheus' text as [name, labels, value] of each line.
function metrics(text) {
  const lines = text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)/gm);
  return [...lines].map(([, name, labels, value]) => {
    const pairs = (labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g);
    return [name, Object.fromEntries([...pairs].map(([, key, label]) => [key, label])), Number(value)];
  });
}

function sample(text) {
  const found = { at: performance.now(), ok: 0, refused: 0, failed: 0, canceled: 0, buckets: new Map(), images: 0, limit: 0 };
  for (const [name, labels, value] of metrics(text)) {
    if (name === "facequality_predictions_total") found[labels.outcome] += value;
    if (name === "facequality_request_seconds_bucket") {
      const bound = Number(labels.le.replace("+Inf", "Infinity"));
      found.buckets.set(bound, (found.buckets.get(bound) ?? 0) + value);
    }
    if (name === "facequality_images_in_flight") found.images = value;
    if (name === "facequality_limit" && labels.flag === "queue") found.limit = value;
  }
  return found;
}

const requests = ({ ok, refused: no, failed, canceled }) => ok + no + failed + canceled;
const rate = (from, to) => (1000 * (requests(to) - requests(from))) / (to.at - from.at);

// A quantile of what was measured between two samples, in milliseconds, as Prometheus' histogram_quantile has it.
function quantile(share, from, to) {
  const counts = [...to.buckets].map(([bound, count]) => [bound, count - (from.buckets.get(bound) ?? 0)]).sort(([a], [b]) => a - b);
  const all = counts.at(-1)?.[1] ?? 0;
  let [below, lower] = [0, 0];
  for (const [bound, count] of all > 0 ? counts : []) {
    if (count >= share * all) return 1000 * (bound === Infinity ? lower : lower + ((bound - lower) * (share * all - below)) / (count - below));
    [below, lower] = [count, bound];
  }
  return null;
}

function line(svg, values) {
  if (values.length < 2) return;
  const top = Math.max(...values, 1e-9);
  const points = values.map((value, index) => `${(100 * (index + SAMPLES - 1 - values.length)) / (SAMPLES - 2)},${23 - 21 * (value / top)}`);
  const polyline = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  polyline.setAttribute("points", points.join(" "));
  svg.replaceChildren(polyline);
}

function live() {
  const [first, last] = [samples[0], samples.at(-1)];
  const recent = samples.at(-6) ?? first;
  const steps = samples.slice(1).map((to, index) => [samples[index], to]);
  const value = (id, text, unit = "") => $(id).replaceChildren(text, " ", make("small", {}, unit));
  const ms = (share) => { const found = quantile(share, first, last); return found === null ? "–" : time(found); };
  value("live-rate", recent === last ? "–" : rate(recent, last).toFixed(1), "/ s");
  value("live-latency", ms(0.5));
  value("live-tail", ms(0.99));
  value("live-refused", `${last.refused - first.refused} · ${last.failed - first.failed}`);
  value("live-flight", String(last.images), `/ ${last.limit}`);
  line($("live-rate-line"), steps.map(([from, to]) => rate(from, to)));
  line($("live-latency-line"), steps.map(([from, to]) => quantile(0.5, from, to) ?? 0));
}

export async function watch() {
  if (!document.hidden) {
    const ready = $("ready");
    try {
      samples.push(sample(await (await get("metrics")).text()));
      samples.splice(0, samples.length - SAMPLES);
      live();
      await get("v2/health/ready");
      if (!ready.classList.contains("yes")) ready.replaceChildren(both("ready", "就绪"));
      ready.className = "ready yes";
    } catch (error) {
      // A role=status speaks whenever it changes, so it changes only then.
      if (!ready.classList.contains("no")) ready.replaceChildren(error instanceof Refused ? both("not ready", "未就绪") : both("cannot be reached", "无法连接"));
      ready.className = "ready no";
      ready.title = error.message;
    }
  }
  setTimeout(watch, EVERY_MS);
}
