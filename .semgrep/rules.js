// ruleid: html-made-of-text
node.innerHTML = incident.name;
// ok: html-made-of-text
node.textContent = incident.name;
// ruleid: html-made-of-text
eval(text);
// ruleid: token-in-storage
localStorage.setItem("token", token);
// ok: token-in-storage
localStorage.setItem("theme", theme);
