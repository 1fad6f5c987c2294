// The page at /ui: language, theme, models, and what people do.

import { show } from "./card.js";
import { get, root } from "./infer.js";
import { watch } from "./live.js";
import { $, make } from "./make.js";

// --- Language and theme ------------------------------------------------------------------------------------------

const kept = {
  // Browsers may forbid it.
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* it lasts until the page is left */ } },
};

function speak(language) {
  document.documentElement.lang = language;
}

const darkByDefault = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (darkByDefault.matches ? "dark" : "light")) === "dark";

function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", isDark());
}

speak(kept.get("language") ?? (navigator.language.startsWith("zh") ? "zh-CN" : "en"));
paint(kept.get("theme"));
darkByDefault.addEventListener("change", () => paint());
$("language").addEventListener("click", () => {
  speak(document.documentElement.lang === "en" ? "zh-CN" : "en");
  kept.set("language", document.documentElement.lang);
});
$("theme").addEventListener("click", () => {
  paint(isDark() ? "light" : "dark");
  kept.set("theme", document.documentElement.dataset.theme);
});

// --- What people do -------------------------------------------------------------------------------------------------

const chosenModel = () => document.querySelector("input[name=model]:checked")?.value;

function take(files) {
  const model = chosenModel();
  if (model) [...files].forEach((file) => show(file, model));
}

$("files").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = "";
});
$("sample").addEventListener("click", async () => {
  const photo = await (await fetch(new URL("ui/sample.jpg", root))).blob();
  take([new File([photo], "astronaut.jpg", { type: photo.type })]);
});
document.addEventListener("paste", ({ clipboardData }) => take(clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});

async function begin() {
  const paths = ["v2", "v1/models", "ui/settings.json"];
  let answers;
  try {
    answers = await Promise.all(paths.map(async (path) => (await get(path)).json()));
  } catch {
    // The dot beside the name tells; a service that restarts is back soon.
    setTimeout(begin, 2000);
    return;
  }
  const [server, { models }, { upright }] = answers;
  document.documentElement.classList.toggle("upright", upright);
  $("name").textContent = server.name;
  document.title = server.name;
  // The model that finds faces is the one to begin with.
  const preferred = models.includes("facephoto") ? "facephoto" : models[0];
  for (const model of models) {
    const radio = make("input", { type: "radio", name: "model", value: model, class: "unseen" });
    radio.checked = model === preferred;
    $("models").append(make("label", {}, radio, model));
  }
}

watch();
begin();
