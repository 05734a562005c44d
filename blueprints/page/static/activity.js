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

// How long ago something was, in the words of the server, by whose clock it is counted.
const ahead = Number(events.dataset.now) - Date.now() / 1000;
function age(time) {
  const seconds = Math.floor(Date.now() / 1000 + ahead - Date.parse(time) / 1000);
  const minutes = Math.floor(seconds / 60), hours = Math.round(seconds / 3600);
  if (seconds < 1) return "less than a second ago";
  if (seconds < 60) return seconds === 1 ? "1 second ago" : `${seconds} seconds ago`;
  if (minutes < 60) return minutes === 1 ? "about a minute ago" : `${minutes} minutes ago`;
  return hours === 1 ? "about an hour ago" : `${hours} hours ago`;
}

// Times of two days ago and before do not change while somebody looks.
function showAges() {
  events.querySelectorAll("time").forEach((each) => {
    if (Date.now() / 1000 + ahead - Date.parse(each.dateTime) / 1000 < 47 * 3600) each.textContent = age(each.dateTime);
  });
}

function say(words) {
  if (live.textContent !== words) live.textContent = words;
}

async function follow() {
  if (!document.hidden) {
    try {
      await Promise.all([showTransfers(), showEvents()]);
      showAges();
      say(live.dataset.live);
    } catch {
      say(live.dataset.lost);
    }
  }
  setTimeout(follow, SECONDS * 1000);
}

follow();
