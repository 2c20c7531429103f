/** What JSON carries whole; further objects need a `toJSON`. */
const CARRIED = /^\[object (Object|Array|Null|Number|String|Boolean)\]$/;

/**
 * Makes JSON of a value. Throws a `TypeError` for what JSON would lose in silence, such as a file, bytes, a `Map` or a function,
 * at any depth. Values with a `toJSON` are sent as that says, except bytes.
 * @param {unknown} value
 * @param {string} name what the error calls the value
 * @returns {string | undefined} none if the value is undefined
 */
export function encode(value, name) {
  /** The path of each object, for the error. */
  const paths = new Map();
  try {
    return JSON.stringify(value, /** @this {any} */ function check(key, item) {
      const parent = paths.get(this);
      const path = parent === undefined ? name : parent + (Array.isArray(this) ? `[${key}]` : `.${key}`);
      const lost = lostType(ArrayBuffer.isView(this[key]) ? this[key] : item);
      if (lost) {
        throw new TypeError(`\`${path}\` cannot be sent as JSON, its type is ${lost}. Send bytes as base64 or by \`fetch\`, and collections as arrays or objects.`);
      }
      if (typeof item === 'object') paths.set(item, path);
      return item;
    });
  } catch (error) {
    // Circular and too deep objects are such errors too. Others are of a getter or a `toJSON` of the page.
    if (error instanceof TypeError || error instanceof RangeError) Object.assign(error, { code: 'not_serializable', sent: false });
    throw error;
  }
}

/** The name of a type that JSON does not carry. @param {unknown} item */
function lostType(item) {
  if (typeof item !== 'object') return /function|symbol|bigint/.test(typeof item) ? typeof item : undefined;
  const type = Object.prototype.toString.call(item);
  return CARRIED.test(type) ? undefined : type.slice(8, -1);
}
