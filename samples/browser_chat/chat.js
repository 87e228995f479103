// The page of the chat: shows incoming messages, and sends typed text. Text from other users is inserted only as text,
// never as markup.

import { Peer } from "./peer.js";

const MAX_LINES = 500;
const STATES = { connecting: "coming in…", open: "here", reconnecting: "away, trying to come back…", closed: "gone" };

const element = (id) => document.getElementById(id);
const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const shown = new Set();
let held = []; // messages that arrive before the history
let peer = null;

function line(who, text, kind = "", id = "") {
  const item = document.createElement("li");
  item.className = kind;
  item.dataset.id = id;
  if (who) item.append(Object.assign(document.createElement("b"), { textContent: who }));
  item.append(text);
  const list = element("said");
  list.append(item);
  while (list.children.length > MAX_LINES) {
    shown.delete(list.firstElementChild.dataset.id);
    list.firstElementChild.remove();
  }
  list.scrollTop = list.scrollHeight;
}

function show({ id, name, text }) {
  if (shown.has(id)) return;
  shown.add(id);
  line(name, text, "", id);
}

function showHere(names) {
  element("here").replaceChildren(...names.map((name) => {
    const button = Object.assign(document.createElement("button"), { textContent: name, title: "What do they look at?" });
    button.addEventListener("click", () => runAction(async () => line(name, `looks at ${await peer.call("where", name)}`, "note")));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

async function runAction(action) {
  element("trouble").textContent = "";
  try {
    return await action();
  } catch (error) {
    element("trouble").textContent = error.message;
    return undefined;
  }
}

function showState(state, error) {
  element("state").textContent = STATES[state];
  element("door").hidden = state !== "closed";
  element("room").hidden = state === "closed";
  for (const field of element("speak").elements) field.disabled = state !== "open";
  if (state === "open") element("text").focus();
  else held ??= [];
  element("trouble").textContent = error?.message ?? "";
}

async function join(name) {
  const { url } = await (await fetch("socket.json")).json();
  const enter = async (link) => {
    const { here, said } = await link.call("join", name, key);
    showHere(here);
    [...said, ...held].forEach(show); // the history first
    held = null;
  };
  peer = new Peer(url, { enter, onstate: showState });
  showState("connecting");
  peer.observe("said", (message) => (held ? held.push(message) : show(message)));
  peer.observe("here", showHere);
  peer.perform("title", () => document.title);
}

element("door").addEventListener("submit", (event) => {
  event.preventDefault();
  runAction(() => join(element("name").value));
});

element("speak").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = element("text");
  runAction(async () => {
    await peer.call("say", field.value);
    field.value = "";
  });
});
