// What works better with a script; every page works without.
"use strict";

// Buttons that copy what stands beside them.
document.querySelectorAll("button[data-copy]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
});

// Tables that are cut can be scrolled by keyboard; others are not a stop of the Tab key.
const cut = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  if (target.scrollWidth > target.clientWidth) {
    target.tabIndex = 0;
    target.setAttribute("role", "group");
    if (!target.hasAttribute("aria-label")) target.setAttribute("aria-label", "Table that can be scrolled sideways");
  } else {
    target.removeAttribute("tabindex");
  }
}));
document.querySelectorAll(".scroll").forEach((each) => cut.observe(each));

// Bytes in decimal units with three digits, as the server writes them.
const inUnits = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return (bytes < 999.5 ? Number(bytes.toPrecision(3)) : Math.round(bytes)) + units[unit];
};

// A selection of images: what deleting it frees is counted again with every change.
const selection = document.querySelector("#selection");
if (selection) {
  let asked = 0;
  const show = (name, text) => { selection.querySelector(`[data-${name}]`).textContent = text; };
  selection.querySelector("[data-count-again]").hidden = true;
  selection.addEventListener("change", async (event) => {
    if (event.target.name !== "image") return;
    const chosen = [...selection.querySelectorAll("input[name=image]:checked")].map((box) => box.value);
    const turn = ++asked;
    const command = document.querySelector("[data-command]");
    const answer = await fetch(`${selection.dataset.freed}?${new URLSearchParams(chosen.map((id) => ["image", id]))}`).catch(() => null);
    if (turn !== asked) return;
    selection.querySelector("[data-uncounted]").hidden = answer !== null;
    selection.querySelector(".result").hidden = answer === null;
    if (command) command.hidden = answer === null || !chosen.length;
    if (answer === null) return;
    if (!answer.ok) {  // some of them are gone: the server says which are left
      selection.requestSubmit(selection.querySelector("[data-count-again]"));
      return;
    }
    const freed = await answer.json();
    show("bytes", inUnits(freed.Freed));
    show("kept", inUnits(freed.Shared));
    show("leased", inUnits(freed.Leased));
    selection.querySelector("[data-while]").hidden = !freed.Leased;
    show("count", `${chosen.length} image${chosen.length === 1 ? "" : "s"}`);
    const wanted = Number(selection.dataset.want);
    selection.querySelector("[data-bar]").setAttribute("width", wanted ? Math.min(1000, 1000 * freed.Freed / wanted) : 1000);
    if (command) {
      command.querySelector("button").dataset.copy = `docker image rm --force ${chosen.join(" ")}`;
      command.querySelector("code").textContent = `docker image rm --force ${chosen.map((id) => id.slice(7, 19)).join(" ")}`;
    }
  });
}
