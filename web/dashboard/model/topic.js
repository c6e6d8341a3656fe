/**
 * AMQP topic patterns: words separated by dots, `*` for exactly one word, `#` for any number of them.
 */

/**
 * Whether `kind` matches `pattern`.
 * @param {string} pattern
 * @param {string} kind
 * @returns {boolean}
 */
export function matches(pattern, kind) {
  const p = pattern.split('.');
  const k = kind.split('.');
  // row[j]: the first i words of the pattern match the first j words of the kind.
  let row = new Array(k.length + 1).fill(false);
  row[0] = true;
  for (const word of p) {
    const next = new Array(k.length + 1).fill(false);
    if (word === '#') {
      let any = false;
      for (let j = 0; j <= k.length; j++) {
        any ||= row[j];
        next[j] = any;
      }
    } else {
      for (let j = 0; j < k.length; j++) next[j + 1] = row[j] && (word === '*' || word === k[j]);
    }
    row = next;
  }
  return row[k.length];
}

/**
 * A test for the text of a filter box: one or more patterns separated by spaces or commas. An empty box
 * lets everything through.
 * @param {string} text
 * @returns {(kind: string) => boolean}
 */
export function filterOf(text) {
  const patterns = text.split(/[\s,]+/).filter(Boolean);
  if (patterns.length === 0) return () => true;
  /** @type {Map<string, boolean>} */
  const known = new Map();
  return (kind) => {
    let answer = known.get(kind);
    if (answer === undefined) {
      answer = patterns.some((p) => matches(p, kind));
      known.set(kind, answer);
    }
    return answer;
  };
}

/**
 * What is wrong with the text of a filter box, or null.
 * @param {string} text
 * @returns {string | null}
 */
export function filterProblem(text) {
  for (const pattern of text.split(/[\s,]+/).filter(Boolean)) {
    for (const word of pattern.split('.')) {
      if (word === '*' || word === '#') continue;
      if (word === '') return `“${pattern}” has an empty word between dots`;
      if (/[*#]/.test(word)) return `“${word}”: * and # stand alone as a word, as in incident.# or *.status.*`;
      if (!/^[a-z0-9-]+$/.test(word)) return `“${word}”: words are lower case letters, digits and hyphens`;
    }
  }
  return null;
}
