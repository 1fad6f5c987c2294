// The service as the page asks it: the Open Inference Protocol over REST, with binary tensors.

// Where the service is: below a proxy's prefix, too.
export const root = new URL(".", location.href);

// What the service refuses, in its words.
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function get(path) {
  const response = await fetch(new URL(path, root), { cache: "no-store" });
  if (!response.ok) throw await refused(response);
  return response;
}

async function refused(response) {
  const text = await response.text();
  let error;
  try { error = JSON.parse(text).error; } catch { /* not from the service, but from a proxy before it */ }
  return new Refused(response.status, error ?? text.slice(0, 500));
}

// The outputs to ask for, by model: all that its metadata shows, and `crop` where there is one.
const outputsOf = new Map();

export async function outputs(model) {
  if (!outputsOf.has(model)) {
    const metadata = await (await get(`v2/models/${encodeURIComponent(model)}`)).json();
    outputsOf.set(model, [...metadata.outputs.map((output) => output.name), "crop"]);
  }
  return outputsOf.get(model);
}

export async function infer(model, file) {
  const image = new Uint8Array(await file.arrayBuffer());
  const names = await outputs(model);
  const head = new TextEncoder().encode(JSON.stringify({
    inputs: [{ name: "image", datatype: "BYTES", shape: [1], parameters: { binary_data_size: image.length + 4 } }],
    outputs: names.map((name) => ({ name, parameters: { binary_data: true } })),
  }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, image.length, true);
  const begin = performance.now();
  const response = await fetch(new URL(`v2/models/${encodeURIComponent(model)}/infer`, root), {
    method: "POST",
    headers: { "content-type": "application/octet-stream", "inference-header-content-length": head.length },
    body: new Blob([head, length, image]),
  });
  if (!response.ok) {
    const error = await refused(response);
    if (names.includes("crop") && error.message.includes('no output "crop"')) {
      outputsOf.set(model, names.filter((name) => name !== "crop"));
      return infer(model, file);
    }
    throw error;
  }
  const body = await response.arrayBuffer();
  const took = performance.now() - begin;
  return { outputs: tensors(response, body), timing: timing(response.headers.get("server-timing") ?? ""), took };
}

// The outputs by name: shape, and the values of one line each.
function tensors(response, body) {
  let at = Number(response.headers.get("inference-header-content-length") ?? body.byteLength);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 0, at)));
  const found = new Map();
  for (const { name, datatype, shape, parameters } of head.outputs) {
    const size = parameters.binary_data_size;
    const values = elements(datatype, body.slice(at, at + size));
    const line = values.length / (shape[0] || 1);
    const lines = Array.from({ length: shape[0] }, (_, index) => values.slice(index * line, (index + 1) * line));
    found.set(name, { shape, lines });
    at += size;
  }
  return found;
}

function elements(datatype, buffer) {
  const types = { FP32: Float32Array, INT32: Int32Array, INT64: BigInt64Array, INT8: Int8Array, UINT8: Uint8Array, BOOL: Uint8Array };
  if (datatype !== "BYTES") return new (types[datatype] ?? Uint8Array)(buffer);
  const texts = [];
  for (let at = 0; at < buffer.byteLength;) {
    const length = new DataView(buffer).getUint32(at, true);
    texts.push(new TextDecoder().decode(new Uint8Array(buffer, at + 4, length)));
    at += 4 + length;
  }
  return texts;
}

// `server-timing` as stages and their milliseconds.
function timing(header) {
  const stages = header.split(",").map((part) => part.trim().match(/^([\w-]+);dur=([\d.]+)$/)).filter(Boolean);
  return new Map(stages.map(([, stage, ms]) => [stage, Number(ms)]));
}
