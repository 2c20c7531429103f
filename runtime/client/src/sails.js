import { connect } from './connect.js';
import { afterScripts, ownGlobal } from './page.js';
import { SDK } from './protocol.js';
import { Socket } from './socket.js';

/** @typedef {Record<string, any>} Dictionary */

/**
 * Puts `io.sails` and `io.socket` on an object, as sails.io.js does.
 * @param {any} io
 * @param {Dictionary} settings
 */
export function augment(io, settings) {
  if (io.sails) throw new Error('The socket.io client (`io`) has already been augmented.');
  /** @type {Dictionary} */
  const sails = io.sails = {
    autoConnect: true,
    reconnection: true,
    useCORSRouteToGetCookie: true,
    environment: 'development',
    sdk: SDK,
    transports: ['websocket'],
    ...settings,
    connect: (/** @type {any} */ url, /** @type {any} */ options) => connect(url, options, sails),
  };
  const socket = io.socket = new Socket(sails, {}, true);
  // Any script of the page may still set `io.sails`, also that `io.socket` shall not connect.
  afterScripts(() => {
    // The page has connected by itself.
    if (!socket._mightBeAboutToAutoConnect) return;
    socket._mightBeAboutToAutoConnect = false;
    if (sails.autoConnect === false || sails.autoconnect === false) delete io.socket;
    else socket.reconnect();
  });
  return io;
}

/**
 * Reads `io.sails` from the attributes of the script tag.
 * @param {any} script
 */
export function scriptSettings(script) {
  const { _environment } = ownGlobal('SAILS_LOCALS') || {};
  const quiet = /#production|\.min\.js/.test(script.src) || /^(production|staging)$/.test(_environment);
  /** @type {Dictionary} */
  const settings = { environment: quiet ? 'production' : 'development' };
  /** @type {Dictionary} */
  const types = { autoConnect: 'boolean', environment: 'string', headers: 'object', url: 'string' };
  for (const name of ['autoConnect', 'reconnection', 'environment', 'headers', 'url', 'transports', 'path']) {
    const text = script.getAttribute(`data-${name}`) || script.getAttribute(name);
    if (text === null) continue;
    let value = text;
    try { value = JSON.parse(text); } catch { /* Not JSON. */ }
    if (name === 'autoConnect' && text === '') value = true;
    if ((types[name] && typeof value !== types[name]) || (name === 'headers' && Array.isArray(value))) {
      throw new Error(`catamaran.io.js :: Unexpected/invalid configuration for \`${name}\` provided in script tag: \`${value}\` (a \`${typeof value}\`). Should be a ${types[name]}.`);
    }
    settings[name] = value;
  }
  return settings;
}
