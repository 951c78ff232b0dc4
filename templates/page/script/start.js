// What all pages begin with: the words of the page's language.

const strings = JSON.parse(document.getElementById("strings").textContent);
document.documentElement.dataset.script = String(Object.keys(strings).length);
