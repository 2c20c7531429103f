/** The server's answer to a request, with the fields of a Sails answer. */
export class JWR {
  /** @param {Record<string, any>} ack */
  constructor({ body, headers = {}, statusCode = 200 }) {
    this.body = body;
    this.headers = headers;
    this.statusCode = statusCode;
    if (statusCode < 200 || statusCode >= 400) {
      const json = `\n\`\`\`\n${JSON.stringify(body, null, 2)}\n\`\`\``;
      this.error = new Error(statusCode ? `Server responded with a ${statusCode} status code:${json}` : 'The socket request failed.');
    }
  }

  toString() {
    return `[ResponseFromSails]  -- Status: ${this.statusCode}  -- Headers: ${this.headers}  -- Body: ${this.body}`;
  }

  toPOJO() {
    return { body: this.body, headers: this.headers, statusCode: this.statusCode };
  }

  pipe() {
    return new Error('Client-side streaming support not implemented yet.');
  }
}
