import { inBrowser, listenToPage, ofPage, page } from './page.js';

/** @typedef {import('./socket.js').Socket} Socket */

/** The sockets that have a connection or want one. @type {Set<Socket>} */
export const active = new Set();

/** Each looks after its connection: the page is back, or the network. */
const wake = () => active.forEach((socket) => socket._wake());

// A worker hears of the network too.
if (inBrowser) for (const event of ['pageshow', 'online', 'offline']) addEventListener(event, wake);

if (page) {
  listenToPage('resume', wake);
  listenToPage('visibilitychange', () => ofPage('hidden') || wake());
  // A browser does not keep a page in its back/forward cache that has an open socket.
  addEventListener('pagehide', () => active.forEach((socket) => socket._leave('reconnecting', 'transport close')));
}
