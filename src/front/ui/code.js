// The request as code, to be copied.

import { outputs, root } from "./infer.js";
import { both, make } from "./make.js";

const inShell = (text) => (/^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const base = root.href.replace(/\/$/, "");

const SNIPPETS = {
  curl: (model, name) => `curl -s ${inShell(`${base}/v1/models/${encodeURIComponent(model)}:predict`)} --data-binary ${inShell(`@${name}`)}`,
  tritonclient: (model, name, outputNames) => `import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(${JSON.stringify(base.replace(/^https?:\/\//, ""))}${root.protocol === "https:" ? ", ssl=True" : ""})
image = triton.InferInput("image", [1], "BYTES")
image.set_data_from_numpy(np.array([open(${JSON.stringify(name)}, "rb").read()], dtype=object))
names = ${JSON.stringify(outputNames)}
result = client.infer(${JSON.stringify(model)}, [image], outputs=[triton.InferRequestedOutput(name) for name in names])
for name in names:
    print(name, result.as_numpy(name).shape, result.as_numpy(name).ravel()[:10])
`,
  "KServe SDK": (model, name) => `import asyncio, base64
from kserve import InferenceRESTClient, RESTConfig

async def main():
    image = base64.b64encode(open(${JSON.stringify(name)}, "rb").read()).decode()
    async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=60)) as client:
        answer = await client.infer(${JSON.stringify(base)}, {"instances": [{"b64": image}]}, model_name=${JSON.stringify(model)})
    print(answer["predictions"])

asyncio.run(main())
`,
};

// V1's JSON; only its beginning is shown where the image is long.
async function json(file, most = Infinity) {
  const reader = new FileReader();
  const read = new Promise((done, failed) => { reader.onload = done; reader.onerror = failed; });
  reader.readAsDataURL(most === Infinity ? file : file.slice(0, most));
  await read;
  const text = JSON.stringify({ data: { item: reader.result } });
  return file.size > most ? text.replace(/.{4}"\}\}$/, "…\"}}") : text;
}

export function code(details, model, file) {
  const [tabs, panel, copy] = [".tabs", "pre", ".copy"].map((selector) => details.querySelector(selector));
  const names = [...Object.keys(SNIPPETS), "JSON"];
  let chosen = names[0];
  const text = async (most) => (chosen === "JSON" ? json(file, most) : SNIPPETS[chosen](model, file.name, await outputs(model)));
  const choose = async (name, focus) => {
    chosen = name;
    for (const tab of tabs.children) {
      const isChosen = tab.textContent === name;
      tab.setAttribute("aria-selected", isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
      if (isChosen && focus) tab.focus();
    }
    panel.setAttribute("aria-label", name);
    try { panel.firstChild.textContent = await text(240); } catch (error) { panel.firstChild.textContent = error.message; }
  };
  tabs.append(...names.map((name) => make("button", { role: "tab" }, name)));
  tabs.addEventListener("click", ({ target }) => target.role === "tab" && choose(target.textContent));
  tabs.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) choose(names[(names.indexOf(chosen) + step + names.length) % names.length], true);
  });
  details.addEventListener("toggle", () => details.open && choose(chosen), { once: true });
  copy.addEventListener("click", async () => {
    const before = [...copy.childNodes];
    try {
      await navigator.clipboard.writeText(await text());
      copy.replaceChildren(both("Copied", "已复制"));
    } catch {
      // Without TLS browsers give no clipboard: the text is marked, to be copied by hand.
      panel.firstChild.textContent = await text();
      getSelection().selectAllChildren(panel);
      copy.replaceChildren(both("Marked: copy it", "已选中，请复制"));
    }
    setTimeout(() => copy.replaceChildren(...before), 2000);
  });
}
