import { loadScript, ownOrigin, page } from './page.js';
import { RESUME_QUERY, SDK } from './protocol.js';

/** @typedef {{ origin: string, path: string, query: string }} Address */

/**
 * Where a socket connects to. Throws if its options make no address.
 * @param {import('./socket.js').Socket} socket
 * @returns {Address}
 */
export function resolveAddress(socket) {
  const query = socket._option('query') || '';
  if (typeof query !== 'string') throw new Error('`query` setting does not currently support configuration as a dictionary');
  const { origin, pathname } = new URL(socket._option('url') || '/', ownOrigin);
  if (pathname !== '/') throw new Error('`url` has a path, instead of the option `path`.');
  const words = [query.replace(/^\?/, ''), SDK.versionString, socket._option('resume') && RESUME_QUERY];
  return {
    origin: origin.replace(/^ws/, 'http'),
    path: socket._option('path').replace(/\/$/, ''),
    query: words.filter(Boolean).join('&'),
  };
}

/**
 * Fetches the cookie that another origin than the page's needs, by a script that sets it.
 * @param {Address} address
 * @param {boolean | string} route
 */
export async function fetchCookie({ origin }, route) {
  if (!page || !route || origin === ownOrigin) return;
  // The script of a Sails server calls it.
  /** @type {any} */ (globalThis)._sailsIoJSConnect = () => {};
  await loadScript(origin + (route === true ? '/__getcookie' : route));
}
