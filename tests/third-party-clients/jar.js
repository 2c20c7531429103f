// Cookies as a browser keeps them: a list that is searched and sorted for each header (RFC 6265, 5.1.4, 5.3 and 5.4).

export class Jar {
  constructor(header) {
    this.made = 0
    this.cookies = header ? header.split('; ').map((pair) => ({ pair, name: nameOf(pair), path: '/', made: ++this.made })) : []
  }

  /** Keeps what a `set-cookie` in the answer to a request for this path says. */
  set(line, requestPath, now = Date.now()) {
    const [pair, ...attributes] = line.split(';').map((part) => part.replace(/^[ \t]+|[ \t]+$/g, ''))
    const name = nameOf(pair)
    if (!name) return
    const of = (attribute) => {
      const said = attributes.filter((text) => text.toLowerCase().startsWith(`${attribute}=`)).at(-1)
      return said?.slice(attribute.length + 1)
    }
    const [age, expires, said] = [of('max-age'), of('expires'), of('path')]
    const path = said?.startsWith('/') ? said : requestPath.slice(0, requestPath.lastIndexOf('/')) || '/'
    const end = age === undefined ? (expires === undefined ? Infinity : Date.parse(expires)) : now + 1000 * Number(age)
    const replaced = this.cookies.filter((cookie) => cookie.name === name && cookie.path === path)
    this.cookies = this.cookies.filter((cookie) => !replaced.includes(cookie))
    if (end > now) this.cookies.push({ pair, name, path, end, made: replaced[0]?.made ?? ++this.made })
  }

  /** The `cookie` of a request for this path. */
  header(path, now = Date.now()) {
    const sent = this.cookies.filter(({ path: of, end = Infinity }) => end > now && isBelow(path, of))
    sent.sort((one, other) => other.path.length - one.path.length || one.made - other.made)
    return sent.map(({ pair }) => pair).join('; ')
  }
}

function nameOf(pair) {
  const end = pair.indexOf('=')
  return end < 0 ? undefined : pair.slice(0, end)
}

function isBelow(path, of) {
  return path === of || path.startsWith(of.endsWith('/') ? of : `${of}/`)
}
