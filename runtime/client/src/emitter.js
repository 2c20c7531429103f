/** @typedef {{ (...args: any[]): any, handler?: Handler }} Handler `handler`: the one that `once` wraps */

/**
 * Calls a handler, and returns what it returns. An error that it throws stops nothing, and is reported as uncaught.
 * @param {Handler} handler
 * @param {any[]} args
 */
export function run(handler, ...args) {
  try {
    return handler(...args);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

/** Handlers by the names of their events. */
export class Emitter {
  constructor() {
    /** @type {Map<string, Handler[]>} */
    this._listeners = new Map();
  }

  /** @param {string} event @param {Handler} handler */
  on(event, handler) {
    this._listeners.set(event, [...this._handlers(event), handler]);
    return this;
  }

  /** @param {string} event @param {Handler} handler */
  once(event, handler) {
    /** @type {Handler} */
    const once = (...args) => {
      this.off(event, once);
      return handler(...args);
    };
    return this.on(event, Object.assign(once, { handler }));
  }

  /** A handler that is `undefined` is none: it takes off nothing. @param {[event?: string, handler?: Handler]} args */
  off(...args) {
    const [event = '', handler] = args;
    if (args.length === 0) return this.removeAllListeners();
    const handlers = this._handlers(event);
    const index = handlers.findIndex((each) => handler && (each === handler || each.handler === handler));
    const rest = handlers.filter((_, i) => args.length > 1 && i !== index);
    if (rest.length > 0) this._listeners.set(event, rest);
    else this._listeners.delete(event);
    return this;
  }

  removeAllListeners() {
    this._listeners.clear();
    return this;
  }

  /** @param {string} event */
  _handlers(event) { return this._listeners.get(event) || []; }

  /** Calls the handlers, and returns what they return. @param {string} event @param {any[]} args */
  _emit(event, ...args) {
    return this._handlers(event).map((handler) => run(handler, ...args));
  }
}
