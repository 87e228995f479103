// The page of the chat: what happens on the socket is shown, what is typed is sent. Whatever others say is text, and is
// never put into the page as anything else.

import { Peer } from "./peer.js";

const MOST_LINES = 500;
const STATES = { connecting: "coming in…", open: "here", reconnecting: "away, trying to come back…", closed: "gone" };

const element = (id) => document.getElementById(id);
const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const shown = new Set();
let held = []; // what is said before we know what was said before
let peer = null;

function line(who, text, kind = "", id = "") {
  const item = document.createElement("li");
  item.className = kind;
  item.dataset.id = id;
  if (who) item.append(Object.assign(document.createElement("b"), { textContent: who }));
  item.append(text);
  const list = element("said");
  list.append(item);
  while (list.children.length > MOST_LINES) {
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
    button.addEventListener("click", () => attempt(async () => line(name, `looks at ${await peer.call("where", name)}`, "note")));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

async function attempt(action) {
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

async function comeIn(name) {
  const { url } = await (await fetch("socket.json")).json();
  const enter = async (link) => {
    const { here, said } = await link.call("join", name, key);
    showHere(here);
    [...said, ...held].forEach(show);
    held = null;
  };
  peer = new Peer(url, { enter, onstate: showState });
  showState("connecting");
  peer.observe("said", (one) => (held ? held.push(one) : show(one)));
  peer.observe("here", showHere);
  peer.perform("title", () => document.title);
}

element("door").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => comeIn(element("name").value));
});

element("speak").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = element("text");
  attempt(async () => {
    await peer.call("say", field.value);
    field.value = "";
  });
});
