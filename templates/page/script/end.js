// What begins when all is there.

// A secret in the address is for the form, which has it: not for the history, a bookmark or the next referrer.
if (new URLSearchParams(location.search).has("share")) history.replaceState(null, "", location.pathname);

if (isList) {
  dressList();
  on(document, "visibilitychange", () => { if (!document.hidden) listChanged(); });
}
goOnWithLeft();
