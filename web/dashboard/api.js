/**
 * The REST interface: a bearer token on every request, problems as errors a person can read, and an
 * Idempotency-Key on every POST, so that a repeat after a lost answer does nothing twice.
 */

/** A problem (RFC 9457) the server answered with, or a request that never got an answer. */
export class ApiError extends Error {
  /** @param {number} status 0 when there was no answer @param {string} message @param {any} [problem] */
  constructor(status, message, problem) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

export class Api {
  /** @param {string} token @param {() => void} onRefused called when the token is not accepted */
  constructor(token, onRefused) {
    this.token = token;
    this.onRefused = onRefused;
  }

  /**
   * @param {string} method
   * @param {string} path below `/api/v1`
   * @param {object} [options]
   * @param {any} [options.body]
   * @param {string} [options.key] Idempotency-Key
   * @param {AbortSignal} [options.signal]
   * @param {'json' | 'bytes'} [options.as]
   */
  async request(method, path, { body, key, signal, as = 'json' } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    if (key) headers['Idempotency-Key'] = key;
    let answer;
    try {
      answer = await fetch(`/api/v1${path}`, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, 'The server cannot be reached. Nothing is known of this request; try again.');
    }
    if (answer.ok) {
      if (answer.status === 204) return null;
      if (as === 'bytes') return new Uint8Array(await answer.arrayBuffer());
      const text = await answer.text();
      return text ? JSON.parse(text) : null;
    }
    if (answer.status === 401) this.onRefused();
    throw await problemOf(answer);
  }

  /** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
  get(path, signal) {
    return this.request('GET', path, { signal });
  }

  /**
   * The items of a list, following its cursor over at most `pages` pages.
   * @param {string} path
   * @param {number} pages
   * @returns {Promise<any[]>}
   */
  async list(path, pages) {
    const items = [];
    let next = null;
    for (let n = 0; n < pages; n++) {
      const cursor = next === null ? '' : `${path.includes('?') ? '&' : '?'}cursor=${encodeURIComponent(next)}`;
      const page = await this.get(path + cursor);
      items.push(...page.items);
      next = page.next ?? null;
      if (next === null) break;
    }
    return items;
  }

  /**
   * A POST that is repeated once under the same key when its answer was lost.
   * @param {string} path
   * @param {any} [body]
   */
  async post(path, body = {}) {
    const key = crypto.randomUUID ? crypto.randomUUID() : randomKey();
    try {
      return await this.request('POST', path, { body, key });
    } catch (error) {
      if (!(error instanceof ApiError) || ![0, 502, 503, 504].includes(error.status)) throw error;
      return this.request('POST', path, { body, key });
    }
  }
}

/** `randomUUID` exists in secure contexts only; a plain-HTTP host name is none. */
function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/** @param {Response} answer */
async function problemOf(answer) {
  let problem = null;
  try {
    problem = await answer.json();
  } catch {
    // Not every proxy answers with a problem.
  }
  const text = problem?.detail ?? problem?.title ?? `the server answered ${answer.status}`;
  return new ApiError(answer.status, text, problem);
}
