// Light or dark: as the system has it until a person chooses. The choice stays in this browser.

const themeSwitch = find("#theme");

function isDark() {
  return (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function setTheme(theme) {
  root.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // A browser that keeps nothing: the choice is this page's.
  }
}

if (themeSwitch) {
  themeSwitch.hidden = false;
  themeSwitch.title = themeSwitch.textContent;
  on(themeSwitch, "click", () => setTheme(isDark() ? "light" : "dark"));
}
