// One end of an OwlMeans connection: calls and events in both directions, with automatic reconnects.
// One file without dependencies; copy it as it is.

const SEPARATOR = "|||";
const MAX_TIMER = 2147483647;

/** The error of a failed call; `type` is the name of the error on the wire. */
export class PeerError extends Error {
  constructor(type, message) {
    super(message);
    this.name = this.type = type;
  }

  /** Parse a marshalled error: `type|||message`, `ResilientError|||message|||name: message`, or any other text. */
  static read(payload) {
    if (typeof payload !== "string") return new PeerError("ResilientError", JSON.stringify(payload));
    const [first, message, stack = ""] = payload.split(SEPARATOR);
    if (message === undefined) return new PeerError("ResilientError", first);
    const [, name] = first === "ResilientError" ? /^(\w+)(?:: |\n|$)/.exec(stack) ?? [] : [];
    return new PeerError(name ?? first, message);
  }
}

/**
 * Connects at once, and reconnects after each lost link, until `close`.
 *
 * All times are in milliseconds. `enter(peer)` runs on each new link before the state is open, for example to log in; an
 * error from the peer closes the connection for good. `onstate(state, error)` is called with "connecting", "open",
 * "reconnecting" and "closed".
 */
export class Peer {
  #url; #options; #socket = null; #state = "connecting"; #attempts = 0; #number = 0;
  #calls = new Map(); #performers = new Map(); #observers = new Map();
  #reconnectTimer; #heartbeatTimer; #openedAt = 0; #lastActivity = 0;

  constructor(url, { enter = async () => {}, onstate = () => {}, callTimeout = 10000, connectTimeout = 10000,
                     heartbeat = 20000, initial = 500, cap = 30000, healthyAfter = 10000 } = {}) {
    this.#url = url;
    this.#options = { enter, onstate, callTimeout, connectTimeout, heartbeat, initial, cap, healthyAfter };
    this.retry = this.retry.bind(this);
    addEventListener("online", this.retry);
    this.#connect();
  }

  get url() { return this.#url; }

  get state() { return this.#state; }

  /** Handle calls of `method`: reply with the result of `handler(...payload)`, or its error. The handler may be async. */
  perform(method, handler) { this.#performers.set(method, handler); }

  /** Call `handler(payload)` for each event with this name. */
  observe(event, handler) { this.#observers.set(event, [...(this.#observers.get(event) ?? []), handler]); }

  /** Send an event; throws if there is no link. */
  notify(event, payload = null) { this.#send({ type: "event", event, payload, dt: Date.now() }); }

  /** Call a method of the peer; returns a promise of the result, rejected after `callTimeout`. */
  call(method, ...payload) {
    const id = `page-${++this.#number}`;
    const timeout = this.#options.callTimeout;
    return new Promise((resolve, reject) => {
      const finish = (settle, value) => {
        clearTimeout(timer);
        this.#calls.delete(id);
        settle(value);
      };
      const expire = () => finish(reject, new PeerError("SocketErrorTimeout", `no reply to ${method} within ${timeout / 1000} s`));
      const timer = setTimeout(expire, Math.min(timeout, MAX_TIMER));
      this.#calls.set(id, { resolve: (value) => finish(resolve, value), reject: (error) => finish(reject, error) });
      try {
        this.#send({ type: "call", id, method, payload, timeout: timeout > MAX_TIMER ? 0 : timeout, dt: Date.now() });
      } catch (error) {
        finish(reject, error);
      }
    });
  }

  /** Skip the backoff and reconnect now. */
  retry() {
    if (this.#state === "reconnecting" && this.#socket === null) this.#connect();
  }

  /** Close the connection for good. */
  close(error = null) {
    removeEventListener("online", this.retry);
    clearTimeout(this.#reconnectTimer);
    const socket = this.#socket;
    this.#drop();
    socket?.close(1000);
    this.#setState("closed", error);
  }

  // -- link -----------------------------------------------------------------------------------------------------------

  #connect() {
    clearTimeout(this.#reconnectTimer);
    const socket = this.#socket = new WebSocket(this.#url);
    const ifCurrent = (handler) => (event) => this.#socket === socket && handler(event);
    socket.onopen = ifCurrent(() => this.#opened(socket));
    socket.onmessage = ifCurrent((event) => this.#receive(event.data));
    socket.onclose = ifCurrent((event) => this.#lost(`the link ended with ${event.code} ${event.reason}`.trim()));
    this.#heartbeatTimer = setTimeout(() => this.#lost("connecting timed out"), this.#options.connectTimeout);
  }

  async #opened(socket) {
    clearTimeout(this.#heartbeatTimer);
    this.#lastActivity = this.#openedAt = Date.now();
    this.#heartbeatTimer = setInterval(() => this.#checkHeartbeat(), this.#options.heartbeat);
    try {
      await this.#options.enter(this);
    } catch (error) {
      if (this.#socket !== socket) return;
      if (["SocketErrorTimeout", "SocketErrorConnection"].includes(error.type)) this.#lost(error.message);
      else this.close(error);
      return;
    }
    if (this.#socket === socket) this.#setState("open", null);
  }

  // Browsers reply to WebSocket pings but cannot send them, and may not detect a dead link for minutes.
  #checkHeartbeat() {
    if (Date.now() - this.#lastActivity > 2 * this.#options.heartbeat) this.#lost("heartbeat timeout");
    else this.#send({ type: "ping" });
  }

  #lost(reason) {
    if (this.#openedAt && Date.now() - this.#openedAt > this.#options.healthyAfter) this.#attempts = 0;
    const { initial, cap } = this.#options;
    const pause = Math.random() * Math.min(cap, initial * 2 ** this.#attempts++);
    const socket = this.#socket;
    this.#drop(reason);
    socket?.close();
    this.#reconnectTimer = setTimeout(() => this.#connect(), pause);
    this.#setState("reconnecting", new PeerError("SocketErrorConnection", reason));
  }

  // From now on events of the old socket are ignored (ifCurrent), and all pending calls fail.
  #drop(reason = "the connection is closed") {
    clearInterval(this.#heartbeatTimer);
    this.#socket = null;
    this.#openedAt = 0;
    for (const call of [...this.#calls.values()]) call.reject(new PeerError("SocketErrorConnection", reason));
  }

  #setState(state, error) {
    this.#state = state;
    this.#options.onstate(state, error);
  }

  #send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new PeerError("SocketErrorConnection", "not connected");
    this.#socket.send(JSON.stringify(message));
  }

  // -- incoming messages ----------------------------------------------------------------------------------------------

  #receive(text) {
    this.#lastActivity = Date.now();
    let message = null;
    try {
      message = JSON.parse(text);
    } catch { /* reported below, like every invalid message */ }
    switch (message?.type) {
      case "call": this.#handleCall(message); break;
      case "result": this.#calls.get(message.id)?.resolve(message.payload ?? null); break;
      case "error": this.#calls.get(message.id)?.reject(PeerError.read(message.payload)); break;
      case "event": this.#dispatchEvent(message); break;
      case "ping": this.#send({ type: "pong" }); break;
      case "pong": case "system": break;
      default: console.warn("ignored:", text);
    }
  }

  #dispatchEvent({ event, payload = null }) {
    for (const handler of this.#observers.get(event) ?? []) {
      try {
        handler(payload);
      } catch (error) {
        console.error(`the observer of ${event} failed:`, error);
      }
    }
  }

  async #handleCall({ id, method, payload }) {
    const socket = this.#socket;
    let reply;
    try {
      const handler = this.#performers.get(method);
      if (!handler) throw new PeerError("SocketErrorConnectionUnsupported", `socket:connection:unsupported:no method ${method}`);
      if (!Array.isArray(payload)) throw new PeerError("SocketErrorMessageMalformed", "the payload of a call must be a list");
      reply = { type: "result", id, payload: (await handler(...payload)) ?? null };
    } catch (error) {
      reply = { type: "error", id, payload: [error?.name ?? "Error", error?.message ?? String(error)].join(SEPARATOR) };
    }
    // Reply only on the link that the call arrived on. A call without an id gets no reply.
    if (id !== undefined && this.#socket === socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(reply));
  }
}
