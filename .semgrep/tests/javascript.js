// ruleid: html-made-of-text
node.innerHTML = incident.name;
// ruleid: html-made-of-text
eval(text);
// ok: html-made-of-text
node.textContent = incident.name;

// ruleid: token-outlives-its-tab
localStorage.setItem(TOKEN_KEY, given);
// ruleid: token-outlives-its-tab
localStorage.setItem("shers.token", given);
// ok: token-outlives-its-tab
sessionStorage.setItem(TOKEN_KEY, given);
// ok: token-outlives-its-tab
localStorage.setItem("theme", theme);

// ruleid: key-by-chance
const id = Date.now() + Math.random();
// ruleid: key-by-chance
const asked = { key: `k-${Math.random()}` };
// ruleid: key-by-chance
const text = Math.random().toString(36);
// ok: key-by-chance
const key = crypto.randomUUID();
// ok: key-by-chance
const wait = limit * Math.random();
