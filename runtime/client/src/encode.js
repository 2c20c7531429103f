// Makes JSON of everything that the page sends.

/** What JSON carries whole. Other objects need a `toJSON`. */
const CARRIED = /^\[object (Object|Array|Number|String|Boolean)\]$/;

/**
 * Makes JSON of a value. Throws a `TypeError` for what JSON would lose in silence, such as a file, bytes, a `Map` or a function,
 * at any depth. Values with a `toJSON` are sent as that says, except bytes.
 * @param {unknown} value
 * @param {string} name what the error calls the value
 * @returns {string | undefined} none if the value is undefined
 */
export function encode(value, name) {
  try {
    return JSON.stringify(value, /** @this {any} */ function check(key, item) {
      const type = lostType(item) || (ArrayBuffer.isView(this[key]) && lostType(this[key]));
      if (!type) return item;
      const path = key === '' && this[key] === value ? name : (pathTo(this, value, name) || name) + step(this, key);
      throw new TypeError(`\`${path}\` cannot be sent as JSON, its type is ${type}. `
        + 'Send bytes as base64 or by `fetch`, and collections as arrays or objects.');
    });
  } catch (error) {
    // Circular and too deep objects are such errors too. Others are of a getter or a `toJSON` of the page.
    if (error instanceof TypeError || error instanceof RangeError) Object.assign(error, { code: 'not_serializable', sent: false });
    throw error;
  }
}

/** The name of a type that JSON does not carry. @param {any} item */
function lostType(item) {
  if (typeof item === 'object') {
    const prototype = item && Object.getPrototypeOf(item);
    // Nearly all are these.
    if (!prototype || prototype === Object.prototype || prototype === Array.prototype) return undefined;
    const type = Object.prototype.toString.call(item);
    return CARRIED.test(type) ? undefined : type.slice(8, -1);
  }
  return typeof item === 'function' || typeof item === 'symbol' || typeof item === 'bigint' ? typeof item : undefined;
}

/**
 * Where an object is in a value. An object that a `toJSON` made is nowhere.
 * @param {any} wanted
 * @param {any} value
 * @param {string} path of the value
 * @returns {string | undefined}
 */
function pathTo(wanted, value, path) {
  if (value === wanted) return path;
  if (!value || typeof value !== 'object') return undefined;
  for (const key of Object.keys(value)) {
    const found = pathTo(wanted, value[key], path + step(value, key));
    if (found) return found;
  }
  return undefined;
}

/** @param {any} parent @param {string} key */
const step = (parent, key) => (Array.isArray(parent) ? `[${key}]` : `.${key}`);
