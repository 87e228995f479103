// One end of an OwlMeans socket: calls and events in both directions, over a link that is made anew when it is lost.
// It is one file without dependencies, to be copied as it is.

const SEPARATOR = "|||";
const LONGEST_TIMER = 2147483647;

/** What the other end answered a call with, or what kept it from answering; `type` is the name that it has on the wire. */
export class PeerError extends Error {
  constructor(type, message) {
    super(message);
    this.name = this.type = type;
  }

  /** Read what a peer marshalled: `type|||message`, or text of any other kind. */
  static read(payload) {
    if (typeof payload !== "string") return new PeerError("ResilientError", JSON.stringify(payload));
    const [first, message] = payload.split(SEPARATOR);
    return message === undefined ? new PeerError("ResilientError", first) : new PeerError(first, message);
  }
}

/**
 * Connects at once, and again whenever the link is lost, until `close`.
 *
 * All times are milliseconds. `enter(peer)` runs on each new link before it counts as open, to say who we are; when the
 * other end answers it with an error, that is the end. `onstate(state, error)` hears of "connecting", "open",
 * "reconnecting" and "closed".
 */
export class Peer {
  #url; #options; #socket = null; #state = "connecting"; #attempts = 0; #number = 0;
  #calls = new Map(); #performers = new Map(); #observers = new Map();
  #again; #beat; #openedAt = 0; #heardAt = 0;

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

  /** Answer calls of `method` with what `handler(...payload)` returns, or throws; it may be async. */
  perform(method, handler) { this.#performers.set(method, handler); }

  /** Have `handler(payload)` run for each event of this name. */
  observe(event, handler) { this.#observers.set(event, [...(this.#observers.get(event) ?? []), handler]); }

  /** Send an event; throws where there is no link. */
  notify(event, payload = null) { this.#send({ type: "event", event, payload, dt: Date.now() }); }

  /** Call a method of the other end: a promise of what it answers, that `callTimeout` ends. */
  call(method, ...payload) {
    const id = `page-${++this.#number}`;
    const timeout = this.#options.callTimeout;
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer);
        this.#calls.delete(id);
        settle(value);
      };
      const late = () => end(reject, new PeerError("SocketErrorTimeout", `no answer to ${method} within ${timeout / 1000} s`));
      const timer = setTimeout(late, Math.min(timeout, LONGEST_TIMER));
      this.#calls.set(id, { resolve: (value) => end(resolve, value), reject: (error) => end(reject, error) });
      try {
        this.#send({ type: "call", id, method, payload, timeout: timeout > LONGEST_TIMER ? 0 : timeout, dt: Date.now() });
      } catch (error) {
        end(reject, error);
      }
    });
  }

  /** Do not wait for the next attempt to connect: make it now. */
  retry() {
    if (this.#state === "reconnecting" && this.#socket === null) this.#connect();
  }

  /** Say goodbye, for good. */
  close(error = null) {
    removeEventListener("online", this.retry);
    clearTimeout(this.#again);
    const socket = this.#socket;
    this.#drop();
    socket?.close(1000);
    this.#move("closed", error);
  }

  // -- the link -------------------------------------------------------------------------------------------------------

  #connect() {
    clearTimeout(this.#again);
    const socket = this.#socket = new WebSocket(this.#url);
    const ours = (handler) => (event) => this.#socket === socket && handler(event);
    socket.onopen = ours(() => this.#opened(socket));
    socket.onmessage = ours((event) => this.#receive(event.data));
    socket.onclose = ours((event) => this.#lost(`the link ended with ${event.code} ${event.reason}`.trim()));
    this.#beat = setTimeout(() => this.#lost("nobody answered"), this.#options.connectTimeout);
  }

  async #opened(socket) {
    clearTimeout(this.#beat);
    this.#heardAt = this.#openedAt = Date.now();
    this.#beat = setInterval(() => this.#ask(), this.#options.heartbeat);
    try {
      await this.#options.enter(this);
    } catch (error) {
      if (this.#socket !== socket) return;
      if (["SocketErrorTimeout", "SocketErrorConnection"].includes(error.type)) this.#lost(error.message);
      else this.close(error);
      return;
    }
    if (this.#socket === socket) this.#move("open", null);
  }

  // A browser answers pings by itself but sends none, and may not notice for many minutes that nobody is there.
  #ask() {
    if (Date.now() - this.#heardAt > 2 * this.#options.heartbeat) this.#lost("the other end fell silent");
    else this.#send({ type: "ping" });
  }

  #lost(reason) {
    if (this.#openedAt && Date.now() - this.#openedAt > this.#options.healthyAfter) this.#attempts = 0;
    const { initial, cap } = this.#options;
    const pause = Math.random() * Math.min(cap, initial * 2 ** this.#attempts++);
    const socket = this.#socket;
    this.#drop(reason);
    socket?.close();
    this.#again = setTimeout(() => this.#connect(), pause);
    this.#move("reconnecting", new PeerError("SocketErrorConnection", reason));
  }

  // What the socket says from now on is no news any more, and what was in flight has failed.
  #drop(reason = "the connection is closed") {
    clearInterval(this.#beat);
    this.#socket = null;
    this.#openedAt = 0;
    for (const call of [...this.#calls.values()]) call.reject(new PeerError("SocketErrorConnection", reason));
  }

  #move(state, error) {
    this.#state = state;
    this.#options.onstate(state, error);
  }

  #send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new PeerError("SocketErrorConnection", "there is no link now");
    this.#socket.send(JSON.stringify(message));
  }

  // -- what comes -----------------------------------------------------------------------------------------------------

  #receive(text) {
    this.#heardAt = Date.now();
    let message = null;
    try {
      message = JSON.parse(text);
    } catch { /* told below, like all that is no message */ }
    switch (message?.type) {
      case "call": this.#answer(message); break;
      case "result": this.#calls.get(message.id)?.resolve(message.payload ?? null); break;
      case "error": this.#calls.get(message.id)?.reject(PeerError.read(message.payload)); break;
      case "event": this.#tell(message); break;
      case "ping": this.#send({ type: "pong" }); break;
      case "pong": case "system": break;
      default: console.warn("passed over:", text);
    }
  }

  #tell({ event, payload = null }) {
    for (const handler of this.#observers.get(event) ?? []) {
      try {
        handler(payload);
      } catch (error) {
        console.error(`the observer of ${event} failed:`, error);
      }
    }
  }

  async #answer({ id, method, payload }) {
    const socket = this.#socket;
    let reply;
    try {
      const handler = this.#performers.get(method);
      if (!handler) throw new PeerError("SocketErrorConnectionUnsupported", `socket:connection:unsupported:no method ${method}`);
      if (!Array.isArray(payload)) throw new PeerError("SocketErrorMessageMalformed", "the payload of a call is a list");
      reply = { type: "result", id, payload: (await handler(...payload)) ?? null };
    } catch (error) {
      reply = { type: "error", id, payload: [error?.name ?? "Error", error?.message ?? String(error)].join(SEPARATOR) };
    }
    // An answer goes to the link that asked, or nowhere; what has no id is performed, and answered by nothing.
    if (id !== undefined && this.#socket === socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(reply));
  }
}
