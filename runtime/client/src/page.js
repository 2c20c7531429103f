// What the client reads of the page, and of global variables. Both may be shadowed by elements with a name, which anybody's
// HTML can bring (DOM clobbering), so everything that reads them goes through this file.

const global = /** @type {any} */ (globalThis);

/** The document. There is none in Node, nor in a worker. */
export const page = typeof document === 'object' ? document : undefined;

/**
 * Reads a property of the document from its prototype: `document.head` may be an `<img name=head>`.
 * @param {string} name
 * @returns {any}
 */
export const ofPage = (name) => page && Reflect.get(Document.prototype, name, page);

/**
 * Reads a global variable that somebody has set. An element of that id is inherited, so it does not count.
 * @param {string} name
 */
export const ownGlobal = (name) => (Object.prototype.hasOwnProperty.call(global, name) ? global[name] : undefined);

/**
 * Calls the listener when an event of the document fires.
 * @param {string} event
 * @param {() => void} listener
 */
export const listenToPage = (event, listener) => ofPage('addEventListener').call(page, event, listener);

/** The origin of the page or worker. `location` is unforgeable, so no element shadows it. @type {string | undefined} */
export const ownOrigin = global.location?.origin;

/** Whether this runs in a page or a worker. */
export const inBrowser = !!page || typeof global.importScripts === 'function';

/**
 * Calls the action once the scripts of the page have run.
 * @param {() => void} action
 */
export function afterScripts(action) {
  let done = false;
  const later = () => {
    if (!done) setTimeout(action, 0);
    done = true;
  };
  if (!page || ofPage('readyState') === 'complete') return later();
  listenToPage('DOMContentLoaded', later);
  // A script that is loaded late may come after that event.
  listenToPage('readystatechange', () => ofPage('readyState') === 'complete' && later());
}

/**
 * Loads a script and removes it again. Resolves when it has run or failed.
 * @param {string} url
 */
export async function loadScript(url) {
  const script = ofPage('createElement').call(page, 'script');
  script.src = url;
  await new Promise((resolve) => {
    script.onload = script.onerror = resolve;
    ofPage('head').append(script);
  });
  script.remove();
}
