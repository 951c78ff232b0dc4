// A preview: its neighbours by key and by swipe, and the way back.

if (page.page === "view") {
  const follow = (relation) => find(`a[rel=${relation}]`)?.click();
  on(document, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, audio, video")) return;
    const relation = { ArrowLeft: "prev", ArrowRight: "next", Escape: "up" }[event.key];
    if (relation) follow(relation);
  });
  let from;
  on(document, "touchstart", ({ touches, target }) => {
    // What scrolls sideways, or has a slider, keeps the finger.
    const isOwn = target.closest("pre, audio, video, table, select");
    from = touches.length === 1 && !isOwn && visualViewport.scale < 1.1 ? touches[0] : undefined;
  }, { passive: true });
  on(document, "touchend", ({ changedTouches: [to] }) => {
    if (!from) return;
    const [x, y] = [to.clientX - from.clientX, to.clientY - from.clientY];
    if (Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) follow(x > 0 ? "prev" : "next");
    from = undefined;
  });
  const encoding = find("#encoding select");
  encoding?.addEventListener("change", () => encoding.form.submit());
}
