/** Waits for a promise, but not for ever: `what` says what did not happen in time. */
export async function within(promise, what, milliseconds = 10_000) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${milliseconds} ms: ${what}`)), milliseconds)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The arguments of the next event of a Socket.IO or Engine.IO client. */
export function next(emitter, event) {
  return within(new Promise((resolve) => emitter.on(event, (...values) => resolve(values))), `the event \`${event}\``)
}
