// Keeps the page of what is going on up to date: asks for news every two seconds while the page is seen.
"use strict";

const SECONDS = 2;
const MOST_EVENTS = 200;
const live = document.getElementById("live");
const transfers = document.getElementById("transfers");
const events = document.getElementById("events");

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(answer.statusText);
  return (await answer.text()).trim();
}

// The server escapes what it sends: pages and their parts are made from the same templates.
async function showTransfers() {
  const rows = await ask(transfers.dataset.source);
  const focused = document.activeElement.id;
  transfers.innerHTML = rows;
  if (focused && !document.activeElement.id) document.getElementById(focused)?.focus();
}

async function showEvents() {
  const newest = events.rows.length ? events.rows[0].dataset.event : "";
  events.insertAdjacentHTML("afterbegin", await ask(`${events.dataset.source}?after=${newest}`));
  while (events.rows.length > MOST_EVENTS) events.deleteRow(-1);
}

function say(words) {
  if (live.textContent !== words) live.textContent = words;
}

async function follow() {
  if (!document.hidden) {
    try {
      await Promise.all([showTransfers(), showEvents()]);
      say(live.dataset.live);
    } catch {
      say(live.dataset.lost);
    }
  }
  setTimeout(follow, SECONDS * 1000);
}

follow();
