import { Socket } from './socket.js';

/**
 * Makes a socket, which begins to connect at once.
 * @param {any} [url]
 * @param {any} [options]
 * @param {Record<string, any>} [defaults] `io.sails`
 */
export function connect(url, options, defaults = {}) {
  const given = typeof url === 'string' ? { ...options, url } : url || options || {};
  const socket = new Socket(defaults, given);
  socket._connect('connecting');
  return socket;
}
