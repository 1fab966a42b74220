// What a page shows as it happens. Every page is whole without this file. Texts become text nodes
// and never HTML; the policy of the page would refuse anything else.
"use strict";

(() => {
  const place = document.querySelector("[data-events]");
  if (!place || !("EventSource" in window)) return;

  const log = document.getElementById("log");
  const steps = document.getElementById("steps");
  const longest = 2_000_000;
  let from = place.dataset.from;
  let source = null;

  // The page anew. It says that nobody asked for it, so that it keeps nobody signed in.
  const renew = () => {
    if (source) source.close();
    const url = new URL(location.href);
    url.searchParams.set("auto", "1");
    location.replace(url);
  };

  const append = (text) => {
    const pane = log.parentElement;
    const isAtEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 40;
    log.append(document.createTextNode(text));
    while (log.textContent.length > longest && log.childNodes.length > 1) log.firstChild.remove();
    if (isAtEnd) pane.scrollTop = pane.scrollHeight;
  };

  const show = (all) => {
    const items = all.map((step) => {
      const item = document.createElement("li");
      item.className = `step ${step.is}`;
      const texts = [["name", step.name], ["took", step.took], ["result", step.result]];
      for (const [kind, text] of texts) {
        if (!text) continue;
        const part = document.createElement("span");
        part.className = kind;
        part.textContent = text;
        item.append(part, " ");
      }
      return item;
    });
    steps.replaceChildren(...items);
  };

  const listen = () => {
    const url = new URL(place.dataset.events, location.href);
    if (from) url.searchParams.set("from", from);
    source = new EventSource(url);
    source.addEventListener("log", (event) => {
      from = event.lastEventId;
      append(JSON.parse(event.data));
    });
    source.addEventListener("steps", (event) => show(JSON.parse(event.data)));
    source.addEventListener("changed", renew);
    source.addEventListener("error", () => {
      // Refused: the page says why, which is that somebody has to sign in again.
      if (source.readyState === EventSource.CLOSED) setTimeout(renew, 5000);
    });
  };

  // A browser has few connections to a server: a page that nobody looks at needs none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (log) listen();
    else renew();
  });

  if (log) log.parentElement.scrollTop = log.parentElement.scrollHeight;
  if (!document.hidden) listen();
})();
