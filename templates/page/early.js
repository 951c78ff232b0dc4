// Runs before the page is shown: with a script it looks different, and it has the theme that was chosen.
document.documentElement.dataset.script = "";
try {
  if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
} catch {
  // A browser that keeps nothing.
}
